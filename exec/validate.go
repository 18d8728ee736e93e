package exec

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/personal-power-plant/p3/ledger"
)

// Bounds of a manifest that a stranger sends.
const (
	MaxArgs    = 1024
	MaxFiles   = 4096
	MaxMemory  = 4 << 30
	MaxReplica = 7
	MaxOutput  = 1 << 30
	MaxProgram = 64 << 20 // bytes of a module
)

// Validate reports the first field that cannot be right.
func (m Manifest) Validate() error {
	switch {
	case m.Version != 1:
		return fmt.Errorf("manifest version %d: this p3 knows version 1; update p3", m.Version)
	case m.Kind != KindMap:
		return fmt.Errorf("kind %q: this p3 knows %q", m.Kind, KindMap)
	case m.Engine != EngineWASM:
		return fmt.Errorf("engine %q: this p3 knows %q", m.Engine, EngineWASM)
	case m.Jobs < 0:
		return fmt.Errorf("%d units at a time: give a number from 1 on, or 0 for as many as hosts take", m.Jobs)
	case !slices.Contains([]string{EachLines, EachFiles, EachParams, EachRange}, m.Each):
		return fmt.Errorf("each %q: use %s, %s, %s or %s", m.Each, EachLines, EachFiles, EachParams, EachRange)
	case len(m.Name) > 64 || !utf8.ValidString(m.Name):
		return fmt.Errorf("name longer than 64 bytes")
	case m.Program.Size <= 0 || m.Program.Size > MaxProgram:
		return fmt.Errorf("program of %d bytes: at most %d", m.Program.Size, MaxProgram)
	case len(m.Args) > MaxArgs || len(m.Env) > MaxArgs:
		return fmt.Errorf("more than %d arguments or variables", MaxArgs)
	case len(m.Data) > MaxFiles:
		return fmt.Errorf("more than %d data files", MaxFiles)
	case m.Limits.Fuel == 0 || m.Limits.Fuel > 1<<60:
		return fmt.Errorf("fuel limit %d: give a number from 1 to 2^60", m.Limits.Fuel)
	case m.Limits.Memory < 64<<10 || m.Limits.Memory > MaxMemory:
		return fmt.Errorf("memory limit %d bytes: give 64 KiB to 4 GiB", m.Limits.Memory)
	case m.Limits.WallMs <= 0 || m.Limits.WallMs > 7*24*3600*1000:
		return fmt.Errorf("time limit %d ms: give 1 ms to 7 days", m.Limits.WallMs)
	case m.Limits.Output <= 0 || m.Limits.Output > MaxOutput:
		return fmt.Errorf("output limit %d bytes: give 1 byte to 1 GiB", m.Limits.Output)
	case !m.Verify.valid():
		return fmt.Errorf("verify %d: give 1 (no voting) to %d, or auto", int(m.Verify), MaxReplica)
	case m.Budget <= 0:
		return fmt.Errorf("budget %s: give an amount above zero", m.Budget)
	case m.Retries < 0 || m.Retries > 100:
		return fmt.Errorf("retries %d: give 0 to 100", m.Retries)
	case len(m.Need) > 1024:
		return fmt.Errorf("need expression longer than 1024 bytes")
	case len(m.Signed) > ledger.SignedPublicationSize:
		return fmt.Errorf("a publication of %d bytes, want %d", len(m.Signed), ledger.SignedPublicationSize)
	case len(m.Nonce) != 16:
		return fmt.Errorf("nonce of %d bytes, want 16", len(m.Nonce))
	}
	if _, err := ParseHalt(m.Halt); err != nil {
		return err
	}
	if m.Deadline < 0 {
		return fmt.Errorf("deadline %d: give a time after 1970", m.Deadline)
	}
	if o := m.Optimise; o != "" {
		if err := o.Set(string(o)); err != nil {
			return err
		}
	}
	for _, kv := range m.Env {
		if k, _, ok := strings.Cut(kv, "="); !ok || k == "" || strings.ContainsRune(kv, 0) {
			return fmt.Errorf("environment %q: write NAME=value", kv)
		}
	}
	for _, a := range m.Args {
		if strings.ContainsRune(a, 0) {
			return fmt.Errorf("argument %q holds a zero byte", a)
		}
	}
	return ValidFiles(m.Data)
}

// ValidFiles checks names and sizes of a list of files that a stranger sent.
func ValidFiles(files []File) error {
	if len(files) > MaxFiles {
		return fmt.Errorf("%d files, at most %d", len(files), MaxFiles)
	}
	seen := make(map[string]bool, len(files))
	for _, f := range files {
		if !ValidName(f.Name) {
			return fmt.Errorf("file name %q: use a relative path, without . or .. in it", f.Name)
		}
		if f.Size < 0 || seen[f.Name] {
			return fmt.Errorf("file %q is there twice or has a negative size", f.Name)
		}
		seen[f.Name] = true
	}
	return nil
}

// ValidName reports whether name may appear below a guest folder: a clean relative slash
// path of at most 512 bytes, no control characters, no backslash or colon (Windows).
func ValidName(name string) bool {
	if name == "" || len(name) > 512 || name == "." || !utf8.ValidString(name) ||
		path.IsAbs(name) || path.Clean(name) != name || name == ".." || strings.HasPrefix(name, "../") {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' || r == ':' })
}

// MaxArgBytes bounds the arguments of one unit, expanded.
const MaxArgBytes = 1 << 20

// CheckArgs says whether the arguments of a unit are sound: its own, or the job's within MaxArgBytes once
// ExpandArgs has expanded them, which it does not do.
func CheckArgs(args []string, in Input) error {
	n := int64(0) // an int may have 32 bits: too few for what strangers ask
	for _, a := range in.Args {
		if n += int64(len(a)) + 1; n > MaxInline {
			return fmt.Errorf("the unit's own arguments come to more than %d bytes: pass the input on stdin instead", MaxInline)
		}
		if strings.ContainsRune(a, 0) {
			return fmt.Errorf("argument %q holds a zero byte", a)
		}
	}
	if len(in.Args) > 0 {
		return nil
	}
	for _, a := range args {
		if n += int64(len(a)) + int64(strings.Count(a, "{}"))*int64(len(in.Text)); n > MaxArgBytes {
			return fmt.Errorf("the arguments of a unit come to more than %d bytes: pass the input on stdin instead", MaxArgBytes)
		}
	}
	return nil
}

// ExpandArgs returns the unit's own arguments, or else the job's with "{}" replaced by the unit's text.
func ExpandArgs(args []string, in Input) []string {
	if len(in.Args) > 0 {
		return in.Args
	}
	out := make([]string, len(args))
	for i, a := range args {
		out[i] = strings.ReplaceAll(a, "{}", in.Text)
	}
	return out
}

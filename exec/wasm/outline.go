package wasm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// A cache entry does not keep the instrumented module but its outline: the same module with
// every function body emptied. Machine code stands for the bodies, and nothing but them is
// left out, so that an engine which finds the code in its cache builds the same instance from the
// outline as from the module, without reading, hashing and validating what it will not use.
// Of a module of 20 MiB a few hundred KiB and its data remain.

// codeSection is the id of the section that has the function bodies.
const codeSection = 10

// emptyBody is a function without locals that traps: valid, whatever its type.
var emptyBody = []byte{3, 0, 0x00, 0x0b} // its size; no locals; unreachable; end

var errOutline = errors.New("outline of a broken module")

// outline empties the bodies of a module that Instrument made.
func outline(module []byte) ([]byte, error) {
	const header = 8
	if len(module) < header {
		return nil, errOutline
	}
	out := append([]byte(nil), module[:header]...)
	for rest := module[header:]; len(rest) > 0; {
		size, n := binary.Uvarint(rest[1:])
		if n <= 0 || size > uint64(len(rest)-1-n) {
			return nil, errOutline
		}
		end := 1 + n + int(size)
		section := rest[:end]
		if section[0] == codeSection {
			count, k := binary.Uvarint(section[1+n:])
			if k <= 0 || count > size {
				return nil, errOutline
			}
			body := binary.AppendUvarint(nil, count)
			for range count {
				body = append(body, emptyBody...)
			}
			section = append(binary.AppendUvarint([]byte{codeSection}, uint64(len(body))), body...)
		}
		out = append(out, section...)
		rest = rest[end:]
	}
	return out, nil
}

// fillEntry compiles an instrumented module into an empty cache entry.
func fillEntry(ctx context.Context, instrumented []byte, dir string) error {
	small, err := outline(instrumented)
	if err != nil {
		return err
	}
	// The engine names its files by what it compiled: the outline's gets the module's code.
	place, err := compileInto(ctx, small, dir, "")
	if err != nil {
		return err
	}
	code, err := compileInto(ctx, instrumented, dir, place)
	if err != nil {
		return err
	}
	if err := os.Rename(code, place); err != nil {
		return fmt.Errorf("compile cache: %w", err)
	}
	return os.WriteFile(filepath.Join(dir, moduleFile), small, 0o600)
}

// compileInto compiles a module and returns the file that the engine made below dir, which has
// none but other.
func compileInto(ctx context.Context, module []byte, dir, other string) (made string, err error) {
	p, err := compile(ctx, module, dir, false)
	if err != nil {
		return "", err
	}
	p.close()
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil || !e.Type().IsRegular() || path == other:
			return err
		case made != "":
			return errors.New("the engine made several files of one module")
		}
		made = path
		return nil
	})
	if err == nil && made == "" {
		err = errors.New("the engine made no file")
	}
	return made, err
}

package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/personal-power-plant/p3/ledger"
	"github.com/personal-power-plant/p3/node"
	"github.com/personal-power-plant/p3/node/idle"
)

// rules is the owner's policy where it lives: a file in the data folder, which people may edit too,
// below what the flags of this start say. A key that is changed while the node runs goes before
// the flag from then on.
type rules struct {
	path    string
	file    node.HostPolicy   // as saved, or the preset that fits this machine
	flags   map[string]string // keys given at the start
	inForce node.HostPolicy   // file with flags over it
	chosen  string            // why that preset, when the owner has chosen none
	seen    stamp
	problem error // of the file as it is now; the policy in force is then the last good one
}

// A stamp tells versions of a file apart without reading it.
type stamp struct {
	size int64
	time time.Time
}

// openRules reads the policy. A file that cannot be read stops the start: whoever wrote it meant something.
func openRules(cfg Config) (r rules, err error) {
	r = rules{path: filepath.Join(cfg.Dir, "policy.yaml"), flags: map[string]string{}}
	b, err := os.ReadFile(r.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		name, why := cfg.Preset, ""
		if name == "" {
			name, why = idle.Preset(cfg.Idle)
		}
		r.chosen = why
		r.file, _ = node.HostPolicy{}.WithPreset(name)
	case err != nil:
		return r, fmt.Errorf("the host policy: %w", err)
	default:
		r.seen = r.stamp()
		if r.file, err = node.ParsePolicy(plainPolicy(), b); err != nil {
			return r, inFile(r.path, err)
		}
	}
	if cfg.Preset != "" {
		p, err := r.file.ApplyPreset(cfg.Preset)
		if err != nil {
			return r, err
		}
		r.file = p
	}
	for key, text := range map[string]string{
		"slots": number(int64(cfg.Slots)), "memory": number(cfg.Memory), "disk": number(cfg.Disk), "price": price(cfg.Price), "native": yes(cfg.Native),
	} {
		if text == "" {
			continue
		}
		if _, err := r.file.Set(key, text); err != nil {
			return r, err
		}
		r.flags[key] = text
	}
	r.enforce()
	return r, nil
}

// Policy shows or changes the policy that the node of dir will start with. Only for a node that does not run.
func Policy(dir string, c node.PolicyChange) (w node.HostWhy, err error) {
	r, err := openRules(Config{Dir: dir})
	if err != nil {
		return w, err
	}
	if c.Preset != "" || len(c.Set) > 0 {
		if err := r.change(c); err != nil {
			return w, err
		}
	}
	return node.HostWhy{Schema: "p3.host-why/v1", Policy: r.policy(), File: r.path, Chosen: r.chosen}, nil
}

// plainPolicy is what a file need not say.
func plainPolicy() node.HostPolicy {
	p, _ := node.HostPolicy{}.WithPreset("server")
	p.Preset = ""
	return p
}

func number(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

func yes(on bool) string {
	if on {
		return "yes"
	}
	return "" // as the file says
}

func price(p ledger.Price) string {
	if p.Den == 0 {
		return ""
	}
	c, err := p.Cost(ledger.PriceFuel)
	if err != nil {
		return ""
	}
	return c.Decimal()
}

func inFile(path string, err error) error {
	var p *node.Problem
	if errors.As(err, &p) {
		return &node.Problem{Code: p.Code, Message: path + ": " + p.Message, Hint: p.Hint}
	}
	return fmt.Errorf("%s: %w", path, err)
}

// policy is the one in force.
func (r *rules) policy() node.HostPolicy { return r.inForce }

func (r *rules) enforce() {
	p := r.file
	for key, text := range r.flags {
		if q, err := p.Set(key, text); err == nil { // was checked at the start
			p = q
		}
	}
	r.inForce = p
}

// change changes keys, all or none, and saves them. r is changed only if the file was.
func (r *rules) change(c node.PolicyChange) error {
	if r.problem != nil { // it would be overwritten
		return &node.Problem{Code: node.CodeUsage, Message: r.problem.Error(), Hint: "correct the file first, or remove it"}
	}
	p, err := r.file.Apply(c)
	if err != nil {
		return err
	}
	if err := writeFile(r.path, []byte(p.Text())); err != nil {
		return fmt.Errorf("save the host policy: %w", err)
	}
	r.file, r.seen = p, r.stamp()
	if c.Preset != "" {
		r.chosen = ""
	}
	for key := range c.Set {
		delete(r.flags, key)
	}
	r.enforce()
	return nil
}

func (r *rules) stamp() stamp {
	info, err := os.Stat(r.path)
	if err != nil {
		return stamp{}
	}
	return stamp{info.Size(), info.ModTime()}
}

// reload takes a file that somebody has changed. One that is gone or wrong changes nothing; the error
// comes once.
func (r *rules) reload() (changed bool, err error) {
	now := r.stamp()
	if now == r.seen {
		return false, nil
	}
	r.seen = now
	if now == (stamp{}) {
		r.problem = nil
		return false, nil
	}
	b, err := os.ReadFile(r.path)
	if err == nil {
		var p node.HostPolicy
		if p, err = node.ParsePolicy(plainPolicy(), b); err == nil {
			for _, k := range node.PolicyKeys {
				if k.Get(p) != k.Get(r.file) {
					delete(r.flags, k.Name)
				}
			}
			r.file, r.problem, r.chosen = p, nil, ""
			r.enforce()
			return true, nil
		}
	}
	r.problem = inFile(r.path, err)
	return false, r.problem
}

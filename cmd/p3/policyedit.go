package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"path/filepath"
	"runtime"

	"github.com/personal-power-plant/p3/node"
	"github.com/personal-power-plant/p3/node/daemon"
)

// editPolicy opens the policy's file in the owner's editor, until it is right or given up. What is
// edited is a copy, so that a running node never sees half of it.
func (a *app) editPolicy(ctx context.Context) error {
	dir := a.dataDir
	asked, cancel := a.bounded(ctx)
	w, err := a.client().HostWhy(asked)
	cancel()
	if err == nil && w.File != "" {
		dir = filepath.Dir(w.File) // of the node that runs
	}
	path, before, err := daemon.PolicyText(dir)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp("", "p3-policy-*.yaml") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(before)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	for {
		if err := a.editor(ctx, f.Name()); err != nil {
			return fmt.Errorf("%w; the policy is as it was, and the text in %s", err, f.Name())
		}
		after, err := readAtMost(f.Name(), node.MaxPolicy+1)
		if err != nil {
			return err
		}
		if err = daemon.CheckPolicy(after); err == nil {
			defer os.Remove(f.Name())
			if bytes.Equal(before, after) {
				a.say("p3: nothing changed")
				return nil
			}
			if err := daemon.SavePolicy(path, after); err != nil {
				return err
			}
			a.say("p3: saved %s; a running node takes it at once", path)
			return nil
		}
		if a.noInput || !isTerminal(a.in) {
			return keptText(f.Name(), err)
		}
		a.say("p3: %s", printable(err.Error()))
		if again, _ := a.confirm("Edit it again?"); !again {
			return keptText(f.Name(), err)
		}
	}
}

// keptText adds to an error in a policy where its text is.
func keptText(file string, err error) error {
	hint := "the policy is as it was; your text is in " + file
	var p *node.Problem
	if errors.As(err, &p) {
		return &node.Problem{Code: p.Code, Message: p.Message, Hint: hint}
	}
	return fmt.Errorf("%w; %s", err, hint)
}

// editor runs $VISUAL or $EDITOR, which may have arguments, or what the system has, on a file.
func (a *app) editor(ctx context.Context, file string) error {
	command := os.Getenv("VISUAL")
	if command == "" {
		command = os.Getenv("EDITOR")
	}
	c := osexec.CommandContext(ctx, "sh", "-c", command+` "$1"`, "sh", file)
	switch {
	case runtime.GOOS == "windows" && command == "":
		c = osexec.CommandContext(ctx, "notepad", file)
	case runtime.GOOS == "windows":
		c = osexec.CommandContext(ctx, command, file)
	case command == "":
		c = osexec.CommandContext(ctx, "vi", file)
	}
	c.Stdin, c.Stdout, c.Stderr = a.in, a.out, a.err
	if err := c.Run(); err != nil {
		return fmt.Errorf("editor: %w (set EDITOR to the one you use)", err)
	}
	return nil
}

func readAtMost(file string, n int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, n))
}

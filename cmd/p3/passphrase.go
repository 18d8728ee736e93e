package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/personal-power-plant/p3/node"
	"github.com/personal-power-plant/p3/node/daemon"
)

// Bounds of a passphrase, in bytes.
const (
	minPassphrase = 8
	maxPassphrase = 1024
)

func (a *app) passphraseCmd() *cobra.Command {
	var file, next string
	var remove, light bool
	c := &cobra.Command{
		Use: "passphrase [--remove]", Short: "Set, change or remove the passphrase that encrypts the account key",
		Long: `Set, change or remove the passphrase that encrypts the account key on disk (as an Ethereum keystore: scrypt, AES-128).
p3 up asks for it. A node that runs already goes on, and needs it at its next start. There is no way to the key
without the passphrase, except a backup.

Scripts give the present one with --passphrase-file (- is stdin) or $P3_PASSPHRASE, and the new one with
--new-passphrase-file or $P3_NEW_PASSPHRASE. What was on the disk before may still be there, in free blocks or in
snapshots: whoever might have read the key before has it.

` + exitHelp,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.setPassphrase(file, next, remove, light) },
	}
	f := c.Flags()
	f.StringVar(&file, "passphrase-file", "", "read the present passphrase from this file's first line")
	f.StringVar(&next, "new-passphrase-file", "", "read the new passphrase from this file's first line")
	f.BoolVar(&remove, "remove", false, "leave the key unencrypted")
	f.BoolVar(&light, "light", false, "for small machines: 4 MiB instead of 256 to open it, and as much easier to guess")
	return c
}

func (a *app) setPassphrase(file, next string, remove, light bool) error {
	had, err := daemon.NeedsPassphrase(a.dataDir)
	if err != nil {
		return err
	}
	if remove && !had {
		return usage("the account key has no passphrase")
	}
	account, err := daemon.SetPassphrase(a.dataDir, a.passphrase(file), func() (string, error) {
		if remove {
			return "", nil
		}
		return a.newPassphrase(next, "New passphrase for the account key")
	}, light)
	if err != nil {
		return err
	}
	if a.json {
		return a.print(map[string]any{"schema": "p3.passphrase/v1", "account": account, "encrypted": !remove})
	}
	switch {
	case remove:
		a.say("the key of %s is no longer encrypted", account)
	case had:
		a.say("the passphrase of %s is changed", account)
	default:
		a.say("the key of %s is encrypted now; p3 up will ask for the passphrase", account)
	}
	return nil
}

// passphrase asks for the one that the account key has: from file, $P3_PASSPHRASE or a person.
func (a *app) passphrase(file string) func() (string, error) {
	return func() (string, error) {
		return a.secret(file, "P3_PASSPHRASE", "Passphrase of the account key", "--passphrase-file or $P3_PASSPHRASE")
	}
}

// newPassphrase asks for one to be set, twice if it is a person who answers.
func (a *app) newPassphrase(file, prompt string) (string, error) {
	given := file != "" || os.Getenv("P3_NEW_PASSPHRASE") != ""
	text, err := a.secret(file, "P3_NEW_PASSPHRASE", prompt, "--new-passphrase-file or $P3_NEW_PASSPHRASE")
	if err != nil {
		return "", err
	}
	if len(text) < minPassphrase {
		return "", usage("a passphrase of %d bytes is guessed in no time: give at least %d, best some words", len(text), minPassphrase)
	}
	if !given {
		again, err := a.secret("", "", "The same again", "")
		if err != nil {
			return "", err
		}
		if again != text {
			return "", usage("the two differ; nothing is changed")
		}
	}
	return text, nil
}

// secret reads a secret from the first line of a file (- is stdin), from a variable, or from a person.
func (a *app) secret(file, variable, prompt, how string) (string, error) {
	if file != "" {
		in := a.in
		if file != "-" {
			f, err := os.Open(file)
			if err != nil {
				return "", usage("%v", err)
			}
			defer f.Close()
			in = f
		}
		b, err := io.ReadAll(io.LimitReader(in, maxPassphrase+2))
		if err != nil {
			return "", err
		}
		return firstLine(b)
	}
	if text := os.Getenv(variable); variable != "" && text != "" {
		return firstLine([]byte(text))
	}
	f, ok := a.in.(*os.File)
	if !ok || a.noInput || !isTerminal(a.in) {
		return "", &node.Problem{Code: node.CodeDenied, Message: prompt + ": nobody can be asked here", Hint: "give it with " + how}
	}
	fmt.Fprintf(a.err, "%s: ", prompt)
	b, err := term.ReadPassword(int(f.Fd()))
	fmt.Fprintln(a.err)
	if err != nil {
		return "", errors.Join(errors.New("read the passphrase"), err)
	}
	return firstLine(b)
}

// firstLine is the secret of a file or an answer.
func firstLine(b []byte) (string, error) {
	line, _, _ := bytes.Cut(b, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	if len(line) > maxPassphrase {
		return "", usage("a passphrase longer than %d bytes", maxPassphrase)
	}
	return string(line), nil
}

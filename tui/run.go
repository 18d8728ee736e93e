package tui

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
)

// Options of Run. The zero value takes the process' terminal and environment.
type Options struct {
	In      io.Reader // nil: the terminal's input
	Out     io.Writer // nil: standard output
	ASCII   bool      // only ASCII signs
	NoColor bool      // as the variable NO_COLOR, which is honoured too

	width, height int // for tests, where there is no terminal to ask
}

// Run shows the screens until the person quits, which is nil, or ctx ends, which is its
// error. The node is watched meanwhile, and again after it was lost.
func Run(ctx context.Context, n Node, o Options) error {
	inner, cancel := context.WithCancel(ctx)
	var feeding sync.WaitGroup
	defer feeding.Wait()
	defer cancel()
	f := newFeed()
	feeding.Go(func() { f.run(inner, n) })

	opts := []tea.ProgramOption{tea.WithContext(ctx), tea.WithFPS(30)}
	if o.In != nil {
		opts = append(opts, tea.WithInput(o.In))
	}
	if o.Out != nil {
		opts = append(opts, tea.WithOutput(o.Out))
	}
	if o.width > 0 {
		opts = append(opts, tea.WithWindowSize(o.width, o.height))
	}
	if o.NoColor || os.Getenv("NO_COLOR") != "" { // whatever its value: no-color.org
		opts = append(opts, tea.WithColorProfile(colorprofile.ASCII))
	}
	_, err := tea.NewProgram(newModel(inner, n, f, o), opts...).Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, tea.ErrInterrupted) {
		return context.Canceled
	}
	return err
}

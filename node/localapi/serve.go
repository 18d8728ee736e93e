package localapi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/personal-power-plant/p3/node"
)

// Listen opens the socket at path with mode 0600, creating its folder with mode 0700. A
// socket that a dead node left behind is replaced; one that a living node answers on, or a
// file that is no socket, is a *node.Problem. Closing the listener removes the socket,
// unless another has taken its place.
func Listen(path string) (net.Listener, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create the socket's folder: %w", err)
	}
	if err := vacant(path); err != nil {
		return nil, err
	}
	// Bound under another name first, it is never there with a wider mode, and the rename
	// replaces a stale one in a single step.
	tmp := filepath.Join(dir, fmt.Sprintf(".p3-%d", os.Getpid()))
	_ = os.Remove(tmp)
	l, err := net.Listen("unix", tmp)
	if err != nil {
		return nil, &node.Problem{Code: node.CodeUsage, Message: fmt.Sprintf("listen on %s: %v", path, err), Hint: "choose a shorter path in a folder of your own with --socket or P3_SOCKET"}
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	err = errors.Join(os.Chmod(tmp, 0o600), os.Rename(tmp, path))
	info, statErr := os.Lstat(path)
	if err = errors.Join(err, statErr); err != nil {
		_ = os.Remove(tmp)
		_ = l.Close()
		return nil, fmt.Errorf("place the socket: %w", err)
	}
	return &listener{Listener: l, path: path, info: info}, nil
}

// vacant reports whether path may be taken.
func vacant(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&os.ModeSocket == 0 {
		return &node.Problem{Code: node.CodeUsage, Message: path + " is there and is not a socket", Hint: "move it away, or choose another path with --socket or P3_SOCKET"}
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		return nil // nobody answers: stale
	}
	_ = c.Close()
	return &node.Problem{Code: node.CodeDenied, Message: "a node is already running at " + path, Hint: "see it with: p3 status; stop it with: p3 down"}
}

type listener struct {
	net.Listener
	path string
	info os.FileInfo
	once sync.Once
	err  error
}

func (l *listener) Close() error {
	l.once.Do(func() {
		if now, err := os.Lstat(l.path); err == nil && os.SameFile(l.info, now) {
			_ = os.Remove(l.path)
		}
		l.err = l.Listener.Close()
	})
	return l.err
}

// Serve answers b's calls on l until ctx ends, gives running calls two seconds to finish
// and closes l. Streams end at once, since their context is ctx. It returns nil when ctx
// ended it.
func Serve(ctx context.Context, l net.Listener, b Backend) error {
	s := &http.Server{
		Handler:           Handler(b),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("local API: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if s.Shutdown(grace) != nil {
		_ = s.Close() // a call that ignores its context loses its connection
	}
	<-served
	return nil
}

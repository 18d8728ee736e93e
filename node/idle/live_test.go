//go:build linux

package idle

import (
	"bufio"
	"context"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/prop"
	"golang.org/x/sys/unix"

	"github.com/personal-power-plant/p3/node"
)

// run starts a program for the time of a test.
func start(t *testing.T, cmd *osexec.Cmd) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(unix.SIGTERM) // so that it takes its socket away
		late := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
		defer late.Stop()
		cmd.Wait()
	})
}

// privateBus starts a bus of the test's own and returns its address and a connection to it.
func privateBus(t *testing.T) (address string, conn *dbus.Conn) {
	t.Helper()
	daemon, err := osexec.LookPath("dbus-daemon")
	need(t, "dbus-daemon (Debian package dbus)", err)
	conf := filepath.Join(t.TempDir(), "bus.conf")
	// Not below t.TempDir: a socket's path is short.
	dir, err := os.MkdirTemp("", "p3bus")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	text := `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path=` + dir + `/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := osexec.Command(daemon, "--config-file="+conf, "--nofork", "--print-address")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	start(t, cmd)
	line, err := bufio.NewReader(out).ReadString('\n') // it listens now
	if err != nil {
		t.Fatal(err)
	}
	address = strings.TrimSpace(line)
	if conn, err = dbus.Connect(address); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return address, conn
}

// service is an object on the bus that answers one method.
func service(t *testing.T, conn *dbus.Conn, name, path, iface string, methods map[string]any) {
	t.Helper()
	if err := conn.ExportMethodTable(methods, dbus.ObjectPath(path), iface); err != nil {
		t.Fatal(err)
	}
	if r, err := conn.RequestName(name, dbus.NameFlagDoNotQueue); err != nil || r != dbus.RequestNameReplyPrimaryOwner {
		t.Fatalf("own %s: %v %v", name, r, err)
	}
}

// A session as logind shows it: o, u, s, s, o.
type session struct {
	ID   string
	UID  uint32
	User string
	Seat string
	Path dbus.ObjectPath
}

// A loginManager is org.freedesktop.login1 on a private bus, with real properties.
type loginManager struct {
	t    *testing.T
	conn *dbus.Conn
	mu   sync.Mutex // guards list
	list []session
}

func newLoginManager(t *testing.T, conn *dbus.Conn) *loginManager {
	m := &loginManager{t: t, conn: conn}
	service(t, conn, login1, "/org/freedesktop/login1", login1+".Manager", map[string]any{
		"ListSessions": func() ([]session, *dbus.Error) { m.mu.Lock(); defer m.mu.Unlock(); return m.list, nil },
	})
	return m
}

// add opens a session and returns how to change its properties.
func (m *loginManager) add(kind, class string) func(name string, v any) {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	s := session{ID: strconv.Itoa(len(m.list) + 1), UID: 1000, User: "ann", Seat: "seat0"}
	s.Path = dbus.ObjectPath("/org/freedesktop/login1/session/_3" + s.ID)
	p, err := prop.Export(m.conn, s.Path, prop.Map{login1 + ".Session": {
		"Type": {Value: kind}, "Class": {Value: class}, "State": {Value: "active"}, "IdleHint": {Value: false}, "LockedHint": {Value: false}, "IdleSinceHint": {Value: uint64(0)},
	}})
	if err != nil {
		m.t.Fatal(err)
	}
	m.list = append(m.list, s)
	return func(name string, v any) { p.SetMust(login1+".Session", name, v) }
}

func TestLogindIsBelievedWhereItIsHonest(t *testing.T) {
	address, conn := privateBus(t)
	m := newLoginManager(t, conn)
	screen := ""
	l := newLogind(Options{Getenv: env("DBUS_SYSTEM_BUS_ADDRESS", address)}, func(s string) { screen = s })
	defer l.close()
	if _, err := ask(t, l); err == nil || !strings.Contains(err.Error(), "nobody is logged in") {
		t.Errorf("no sessions: %v", err)
	}
	m.add("wayland", "greeter")
	if _, err := ask(t, l); err == nil || screen != "" {
		t.Errorf("the greeter is somebody: %v, %q", err, screen)
	}
	set := m.add("wayland", "user")
	if s, err := ask(t, l); err == nil || !strings.Contains(err.Error(), "some desktops always do") || !strings.Contains(screen, "wayland") {
		t.Errorf("a hint that never changed: %+v %v, screen %q", s, err, screen)
	}
	before := time.Now().Add(-10 * time.Minute).Truncate(time.Microsecond)
	set("IdleSinceHint", uint64(before.UnixMicro()))
	set("IdleHint", true)
	if s, err := ask(t, l); err != nil || !s.Last.Equal(before) || !s.Screen || !strings.Contains(s.Text, "idle since") {
		t.Errorf("idle: %+v %v", s, err)
	}
	set("IdleHint", false) // back: now the hint is known to be set
	if s, err := ask(t, l); err != nil || time.Since(s.Last) > time.Minute || !strings.Contains(s.Text, "in use") {
		t.Errorf("in use: %+v %v", s, err)
	}
	typed := time.Now().Add(-time.Minute).Truncate(time.Microsecond)
	other := m.add("tty", "user")
	other("IdleSinceHint", uint64(typed.UnixMicro()))
	set("IdleHint", true)
	if s, err := ask(t, l); err != nil || !s.Last.Equal(typed) {
		t.Errorf("a terminal used later than the screen: %+v %v", s, err)
	}
}

func TestLockedSessionIsLeft(t *testing.T) {
	address, conn := privateBus(t)
	m := newLoginManager(t, conn)
	set := m.add("x11", "user")
	l := newLogind(Options{Getenv: env("DBUS_SYSTEM_BUS_ADDRESS", address)}, func(string) {})
	defer l.close()
	set("LockedHint", true)
	a, err := ask(t, l)
	if err != nil || !strings.Contains(a.Text, "locked since") {
		t.Fatalf("%+v %v", a, err)
	}
	if b, err := ask(t, l); err != nil || !b.Last.Equal(a.Last) {
		t.Errorf("it moves: %+v, then %+v %v", a, b, err)
	}
}

func TestDesktopsTellTheirIdleTime(t *testing.T) {
	address, conn := privateBus(t)
	o := Options{Getenv: env("DBUS_SESSION_BUS_ADDRESS", address)}
	g, v := newMutter(o), newSaver(o)
	defer g.close()
	defer v.close()
	for _, l := range []layer{g, v} {
		if _, err := ask(t, l); err == nil || !strings.Contains(err.Error(), "not on the bus") {
			t.Errorf("%s: %v", l.name(), err)
		}
	}
	service(t, conn, "org.gnome.Mutter.IdleMonitor", "/org/gnome/Mutter/IdleMonitor/Core", "org.gnome.Mutter.IdleMonitor", map[string]any{
		"GetIdletime": func() (uint64, *dbus.Error) { return 90_000, nil },
	})
	if s, err := ask(t, g); err != nil || !s.Screen || time.Since(s.Last).Round(time.Minute) != 2*time.Minute && time.Since(s.Last).Truncate(time.Minute) != time.Minute {
		t.Errorf("gnome: %+v %v", s, err)
	}
}

// Screen savers count seconds, as the specification says, or milliseconds, as KDE does.
func TestScreenSaverUnitIsFoundOut(t *testing.T) {
	for name, unit := range map[string]time.Duration{"seconds": time.Second, "milliseconds": time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address, conn := privateBus(t)
			input := time.Now().Add(-time.Hour)
			service(t, conn, "org.freedesktop.ScreenSaver", "/org/freedesktop/ScreenSaver", "org.freedesktop.ScreenSaver", map[string]any{
				"GetSessionIdleTime": func() (uint32, *dbus.Error) { return uint32(time.Since(input) / unit), nil },
			})
			v := newSaver(Options{Getenv: env("DBUS_SESSION_BUS_ADDRESS", address)})
			defer v.close()
			var s node.Signal
			err := error(nil)
			for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
				if s, err = ask(t, v); err == nil {
					break
				}
			}
			if err != nil || s.Last.Sub(input).Abs() > 10*time.Second {
				t.Errorf("%+v %v, want %s", s, err, input)
			}
		})
	}
}

// A bus that takes connections and says nothing holds up its own layer only.
func TestDeadBusHoldsNothingUp(t *testing.T) {
	dir, err := os.MkdirTemp("", "p3bus")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: dir + "/bus"}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 8); err != nil {
		t.Fatal(err)
	}
	address := "unix:path=" + dir + "/bus"
	w := Watch(Options{Getenv: env("DBUS_SYSTEM_BUS_ADDRESS", address, "DBUS_SESSION_BUS_ADDRESS", address), Every: 10 * time.Millisecond})
	defer w.Close()
	for range w.News() {
		if find(w.Signals(time.Now()), "memory").Known {
			break
		}
	}
	if s := find(w.Signals(time.Now()), "logind"); s.Known {
		t.Errorf("%+v", s)
	}
}

// xvfb starts an X server of the test's own.
func xvfb(t *testing.T) (display string) {
	t.Helper()
	server, err := osexec.LookPath("Xvfb")
	need(t, "Xvfb (Debian package xvfb)", err)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := osexec.Command(server, "-displayfd", "3", "-screen", "0", "64x64x8", "-nolisten", "tcp", "-noreset")
	cmd.ExtraFiles = []*os.File{w}
	start(t, cmd)
	w.Close()
	line, err := bufio.NewReader(r).ReadString('\n') // it is ready
	if err != nil {
		t.Fatal(err)
	}
	return ":" + strings.TrimSpace(line)
}

// Real input on a real X server is seen, and only that.
func TestX11SeesInput(t *testing.T) {
	display := xvfb(t)
	tool, err := osexec.LookPath("xdotool")
	need(t, "xdotool", err)
	x := newX11(Options{Getenv: env("DISPLAY", display)})
	defer x.close()
	first, err := ask(t, x)
	if err != nil || !first.Screen {
		t.Fatalf("%+v %v", first, err)
	}
	time.Sleep(300 * time.Millisecond) // nobody touches it
	if s, err := ask(t, x); err != nil || s.Last.Sub(first.Last).Abs() > 200*time.Millisecond {
		t.Errorf("without input the last one moved from %s to %s (%v)", first.Last, s.Last, err)
	}
	before := time.Now()
	cmd := osexec.CommandContext(t.Context(), tool, "key", "a")
	cmd.Env = append(os.Environ(), "DISPLAY="+display)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("xdotool: %v %s", err, out)
	}
	if s, err := ask(t, x); err != nil || s.Last.Before(before.Add(-100*time.Millisecond)) {
		t.Errorf("the key was not seen: last input %s, it was pressed at %s (%v)", s.Last, before, err)
	}
	for name, getenv := range map[string]func(string) string{
		"inside the session":  env("DISPLAY", display, "WAYLAND_DISPLAY", "wayland-0"),
		"outside the session": env("DISPLAY", display, "XDG_RUNTIME_DIR", filepath.Join(listening(t, "run/wayland-0"), "run")),
	} {
		under := newX11(Options{Getenv: getenv})
		if s, err := ask(t, under); err != nil || s.Screen {
			t.Errorf("%s, under Wayland X11 claims to see all: %+v %v", name, s, err)
		}
		under.close()
	}
}

func TestX11ThatIsGoneSaysSo(t *testing.T) {
	x := newX11(Options{Root: t.TempDir(), Getenv: env()})
	if _, err := ask(t, x); err == nil {
		t.Error("it answers")
	}
	x = newX11(Options{Root: t.TempDir(), Getenv: env("DISPLAY", ":4093")})
	if _, err := ask(t, x); err == nil || !strings.Contains(err.Error(), ":4093") {
		t.Errorf("%v", err)
	}
}

// A real pseudo-terminal: reading what was typed counts, printing does not.
func TestTypingOnATerminalIsSeen(t *testing.T) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	need(t, "pseudo-terminals", err)
	defer master.Close()
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	old := time.Now().Add(-time.Hour).Truncate(time.Second)
	if err := os.Chtimes(slave.Name(), old, old); err != nil {
		t.Fatal(err)
	}
	if _, err := slave.WriteString("output\n"); err != nil {
		t.Fatal(err)
	}
	if at, err := accessed(slave.Name()); err != nil || !at.Equal(old) {
		t.Fatalf("output counts as input: %s %v", at, err)
	}
	before := time.Now()
	if _, err := master.WriteString("input\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := slave.Read(make([]byte, 64)); err != nil {
		t.Fatal(err)
	}
	s, err := ask(t, &ttys{opt: Options{Getenv: env()}})
	if err != nil || s.Last.Before(before.Add(-9*time.Second)) || !strings.Contains(s.Text, "typed on") {
		t.Errorf("%+v %v", s, err)
	}
}

// spin keeps one CPU busy for the time of a test, at some niceness.
func spin(t *testing.T, nice string) {
	t.Helper()
	sh, err := osexec.LookPath("nice")
	need(t, "nice", err)
	start(t, osexec.Command(sh, "-n", nice, "sh", "-c", "while :; do :; done"))
}

// Children are ours, whatever they burn. Other tests may run beside this one, so it asks for what
// the layer takes off rather than for what remains.
func TestOwnWorkersAreNoLoad(t *testing.T) {
	l := newLoad(Options{Getenv: env()})
	spin(t, "0")
	if len(l.children()) == 0 {
		t.Skip("this kernel does not list children")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for l.guests < 20 { // ticks of 10 ms
		var s node.Signal
		if err := l.look(ctx, &s); err != nil {
			t.Fatal(err)
		}
		if s.Percent < 0 || s.Percent > 100 {
			t.Fatalf("%+v", s)
		}
	}
}

package idle

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/personal-power-plant/p3/node"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// env is an environment without the tester's own session.
func env(kv ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(kv); i += 2 {
			if kv[i] == name {
				return kv[i+1]
			}
		}
		return ""
	}
}

// tree makes files below a folder that stands for "/".
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func find(s node.Signals, name string) node.Signal {
	for _, x := range s.Layers {
		if x.Layer == name {
			return x
		}
	}
	return node.Signal{}
}

// ask looks once with one layer.
func ask(t *testing.T, l layer) (s node.Signal, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err = l.look(ctx, &s)
	return s, err
}

// need skips a test without its tool, except in CI, which installs them all.
func need(t *testing.T, tool string, err error) {
	t.Helper()
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s: %v", tool, err)
		}
		t.Skipf("needs %s: %v", tool, err)
	}
}

// On an empty machine every layer says why it knows nothing, and nobody is taken for idle.
func TestEmptyMachineKnowsNothing(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	s := Look(ctx, Options{Root: t.TempDir(), Getenv: env()})
	if len(s.Layers) != 8 || s.Graphical != "" {
		t.Fatalf("%+v", s)
	}
	for _, x := range s.Layers {
		if x.Text == "" || x.Known && x.Layer != "power" {
			t.Errorf("%+v", x)
		}
	}
	p, _ := node.HostPolicy{}.WithPreset("desktop")
	if d := node.Decide(p, s, node.HostControl{Donate: true}, time.Now(), node.Decision{}); d.Accepts || d.By != "presence" {
		t.Errorf("%+v", d)
	}
}

// This machine answers where it can, and quickly enough for an owner who returns.
func TestThisMachineAnswers(t *testing.T) {
	if _, err := os.Stat("/proc/stat"); err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	s := Look(ctx, Options{})
	for _, name := range []string{"load", "power", "memory"} {
		if x := find(s, name); !x.Known {
			t.Errorf("%+v", x)
		}
	}
	if m := find(s, "memory"); m.Free <= 0 {
		t.Errorf("%+v", m)
	}
}

func TestPowerTellsMainsFromBattery(t *testing.T) {
	const dir = "sys/class/power_supply/"
	for name, x := range map[string]struct {
		files   map[string]string
		battery bool
		text    string
		preset  string
	}{
		"desktop":             {nil, false, "no battery", "server"},
		"laptop on mains":     {map[string]string{"AC/type": "Mains\n", "AC/online": "1\n", "BAT0/type": "Battery\n", "BAT0/status": "Charging\n"}, false, "on mains", "laptop"},
		"laptop on battery":   {map[string]string{"AC/type": "Mains\n", "AC/online": "0\n", "BAT0/type": "Battery\n", "BAT0/status": "Discharging\n", "BAT0/capacity": "71\n"}, true, "BAT0 at 71%", "laptop"},
		"charged by USB":      {map[string]string{"ucsi/type": "USB\n", "ucsi/online": "1\n", "BAT0/type": "Battery\n", "BAT0/status": "Full\n"}, false, "on mains", "laptop"},
		"no mains file":       {map[string]string{"BAT0/type": "Battery\n", "BAT0/status": "Discharging\n", "BAT0/capacity": "5\n"}, true, "BAT0", "laptop"},
		"a mouse's battery":   {map[string]string{"hid/type": "Battery\n", "hid/status": "Discharging\n", "hid/scope": "Device\n"}, false, "no battery", "server"},
		"unplugged, no state": {map[string]string{"AC/type": "Mains\n", "AC/online": "0\n", "BAT0/type": "Battery\n", "BAT0/status": "Unknown\n"}, true, "on battery", "laptop"},
	} {
		files := map[string]string{}
		for n, content := range x.files {
			files[dir+n] = content
		}
		o := Options{Root: tree(t, files), Getenv: env()}
		s, err := ask(t, &power{o})
		if err != nil || s.Battery != x.battery || !strings.Contains(s.Text, x.text) {
			t.Errorf("%s: %+v %v", name, s, err)
		}
		if got, why := Preset(o); got != x.preset || why == "" {
			t.Errorf("%s: preset %s (%s)", name, got, why)
		}
	}
}

func TestPresetFitsTheMachine(t *testing.T) {
	empty := t.TempDir()
	for name, x := range map[string]struct {
		o    Options
		want string
	}{
		"nothing":       {Options{Root: empty, Getenv: env()}, "server"},
		"X session":     {Options{Root: empty, Getenv: env("DISPLAY", ":0")}, "desktop"},
		"ssh -X":        {Options{Root: empty, Getenv: env("DISPLAY", "localhost:10.0")}, "server"},
		"Wayland":       {Options{Root: empty, Getenv: env("WAYLAND_DISPLAY", "wayland-0")}, "desktop"},
		"ssh to a desk": {Options{Root: listening(t, "tmp/.X11-unix/X0"), Getenv: env()}, "desktop"},
		"a dead server": {Options{Root: tree(t, map[string]string{"tmp/.X11-unix/X0": ""}), Getenv: env()}, "server"},
	} {
		if got, why := Preset(x.o); got != x.want {
			t.Errorf("%s: %s (%s), want %s", name, got, why, x.want)
		}
	}
}

// listening makes a socket below a folder that stands for "/".
func listening(t *testing.T, name string) string {
	t.Helper()
	root, err := os.MkdirTemp("", "p3x") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(); os.RemoveAll(root) })
	return root
}

func TestStatFilesOfOthersAreRead(t *testing.T) {
	normal, full, err := parseStat([]byte("cpu  100 900 50 8000 7 1 2 3 0 0\ncpu0 1\n"))
	if err != nil || normal != 153 || full != 9063 {
		t.Errorf("%d of %d, %v", normal, full, err)
	}
	for _, bad := range []string{"", "cpu", "cpu  1 2 3 x 5 6 7 8\n", "intr 1 2 3 4 5 6 7 8\n"} {
		if _, _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q is believed", bad)
		}
	}
}

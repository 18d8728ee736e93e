package main

import (
	"testing"

	"github.com/personal-power-plant/p3/exec"
	"github.com/personal-power-plant/p3/exec/examples/examplestest"
)

// TestAMasterSplitsWhatIsHard gives it all results beforehand, the later unit's first.
func TestAMasterSplitsWhatIsHard(t *testing.T) {
	program := examplestest.BuildGo(t, ".")
	run := func(answers string) exec.Result {
		return examplestest.Run(t, program, answers, exec.Spec{Args: []string{"1", "2", "0.5"}})
	}
	r := run(`{"unit":0,"id":0,"ok":true,"stdout":"split\n"}
{"unit":2,"id":2,"ok":true,"stdout":"2.5\n"}
{"unit":1,"id":1,"ok":true,"stdout":"","stdout_base64":"MQo="}
`)
	want := `{"id":0,"stdin_base64":"MSAyIDAuNQo="}
{"id":1,"stdin_base64":"MSAxLjUgMC4yNQo="}
{"id":2,"stdin_base64":"MS41IDIgMC4yNQo="}
{"output":"3.500000000000 in 3 units\n"}
`
	if !r.OK() || string(r.Stdout) != want {
		t.Errorf("%s %s\n%s\nwant\n%s", r.Status, r.Stderr, r.Stdout, want)
	}
	for _, answers := range []string{"", "{", `{"id":0,"ok":false,"error":"trap"}`} {
		if r := run(answers); r.ExitCode != 1 || len(r.Stderr) == 0 {
			t.Errorf("%q: %+v", answers, r)
		}
	}
}

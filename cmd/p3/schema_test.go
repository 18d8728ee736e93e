package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/invopop/jsonschema"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/personal-power-plant/p3/exec"
)

var update = flag.Bool("update", false, "rewrite job.schema.json for the spec type as it is now")

// flagOf are the words of a job file whose flags have other names.
var flagOf = map[string]string{"time": "time-limit", "output": "output-limit", "params": "param"}

// TestJobSchema holds job.schema.json to the type that job files are read into, and to the flags' help.
func TestJobSchema(t *testing.T) {
	o := mapOptions{spec: newSpec()}
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	for _, c := range []*cobra.Command{(&app{}).mapCmd(), (&app{}).sweepCmd()} {
		flags.AddFlagSet(c.Flags())
	}
	r := jsonschema.Reflector{
		FieldNameTag: "yaml", DoNotReference: true, RequiredFromJSONSchemaTags: true,
		Mapper: func(t reflect.Type) *jsonschema.Schema {
			if t == reflect.TypeFor[time.Duration]() {
				return &jsonschema.Schema{Type: "string", Pattern: `^([0-9.]+(ns|us|µs|ms|s|m|h))+$`}
			}
			if t == reflect.TypeFor[verifyWord]() {
				s := &jsonschema.Schema{Enum: []any{"auto"}}
				for n := range exec.MaxReplica {
					s.Enum = append(s.Enum, n+1)
				}
				return s
			}
			if t == reflect.TypeFor[optimiseWord]() {
				return &jsonschema.Schema{Enum: []any{exec.ForCost, exec.ForTime, exec.Balanced}}
			}
			return nil
		},
	}
	s := r.Reflect(&o.spec)
	s.Title, s.Description = "P3 job", "A job file of `p3 map -f FILE`. Paths are relative to the file."
	describe(s, flags)
	for _, word := range specWords {
		if !strings.Contains(mustJSON(t, s), `"`+word+`"`) {
			t.Errorf("the schema has no %q", word)
		}
	}
	want := []byte(mustJSON(t, s) + "\n")
	if *update {
		if err := os.WriteFile("job.schema.json", want, 0o644); err != nil {
			t.Fatal(err)
		}
	} else if !bytes.Equal(want, jobSchema) {
		t.Errorf("job.schema.json is not that of the spec type: renew it with `go test ./cmd/p3 -run JobSchema -update`")
	}
}

// describe gives properties the help of the flags with the same meaning.
func describe(s *jsonschema.Schema, flags *pflag.FlagSet) {
	if s.Properties == nil {
		return
	}
	for p := s.Properties.Oldest(); p != nil; p = p.Next() {
		name := strings.ReplaceAll(p.Key, "_", "-")
		if other := flagOf[p.Key]; other != "" {
			name = other
		}
		if f := flags.Lookup(name); f != nil && p.Value.Properties == nil && p.Key != "files" {
			p.Value.Description = f.Usage
		}
		describe(p.Value, flags)
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

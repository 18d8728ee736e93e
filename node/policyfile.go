package node

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// MaxPolicy bounds a policy file, in bytes.
const MaxPolicy = 256 << 10

// ParsePolicy reads a policy file over base: YAML 1.2 or JSON, version 1, each key at most once.
// Its errors begin with line and column, "[3:1] ". A file without a key leaves base's value.
func ParsePolicy(base HostPolicy, b []byte) (HostPolicy, error) {
	if len(b) > MaxPolicy {
		return base, &Problem{Code: CodeUsage, Message: fmt.Sprintf("policy of %d bytes, at most %d", len(b), MaxPolicy)}
	}
	var m map[string]any
	d := yaml.NewDecoder(bytes.NewReader(b))
	if err := d.Decode(&m); err != nil && !errors.Is(err, io.EOF) {
		return base, &Problem{Code: CodeUsage, Message: strings.TrimSpace(yaml.FormatError(err, false, true)), Hint: "correct it, or write it anew: p3 host policy --preset desktop"}
	}
	return base.take(m, func(key string, err error) error { return at(b, key, err) })
}

// at puts before an error where its key stands in a file.
func at(b []byte, key string, err error) error {
	var p *Problem
	file, broken := parser.ParseBytes(b, 0)
	if broken != nil || !errors.As(err, &p) {
		return err
	}
	for _, doc := range file.Docs {
		m, ok := doc.Body.(*ast.MappingNode)
		if !ok {
			continue
		}
		for _, v := range m.Values {
			if k, ok := v.Key.(ast.ScalarNode); ok && fmt.Sprint(k.GetValue()) == key {
				where := k.GetToken().Position
				return &Problem{Code: p.Code, Message: fmt.Sprintf("[%d:%d] %s", where.Line, where.Column, p.Message), Hint: p.Hint}
			}
		}
	}
	return err
}

// Text is the policy as its file holds it: every key with what it does.
func (p HostPolicy) Text() string {
	var b strings.Builder
	b.WriteString("# When, how much and to whom this machine is lent. `p3 host policy` writes it; a running node\n# takes changes at once.\nversion: 1\n")
	if p.Preset != "" {
		fmt.Fprintf(&b, "preset: %s\n", p.Preset)
	}
	for _, k := range PolicyKeys {
		fmt.Fprintf(&b, "\n# %s (%s)\n%s: %s\n", k.Help, k.Form, k.Name, quoted(k.get(&p)))
	}
	return b.String()
}

// quoted makes a text a YAML string where it could be read as something else.
func quoted(s string) string {
	if strings.ContainsAny(s, ":#,%") || s == "" {
		return `"` + s + `"` // no value holds quotes or backslashes
	}
	return s
}

// PolicySchema is the JSON Schema (2020-12) of a policy file.
func PolicySchema() map[string]any {
	text := map[string]any{"type": []string{"string", "number", "boolean", "array", "null"}}
	props := map[string]any{"version": map[string]any{"const": 1}}
	var presets []string
	for _, p := range Presets {
		presets = append(presets, p.Name)
	}
	props["preset"] = map[string]any{"enum": append(presets, "")}
	for _, k := range PolicyKeys {
		e := map[string]any{"description": k.Help + " (" + k.Form + ")"}
		for n, v := range text {
			e[n] = v
		}
		props[k.Name] = e
	}
	return map[string]any{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "P3 host policy", "type": "object",
		"properties": props, "additionalProperties": false,
	}
}

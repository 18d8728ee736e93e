package node

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/personal-power-plant/p3/ledger"
)

// A PolicyKey is one line of a host policy: its name and how its value is written. The table
// serves the file, the local API, the command line, the screen and the schema, so that all of
// them know the same words.
type PolicyKey struct {
	Name string
	Help string // what it does, in one line
	Form string // how a value is written: "yes or no", "duration", …
	get  func(*HostPolicy) string
	set  func(*HostPolicy, string) error
}

// PolicyKeys is every key, in the order in which people read them.
var PolicyKeys = []PolicyKey{
	flagKey("idle_only", "only while nobody uses this machine", func(p *HostPolicy) *bool { return &p.IdleOnly }),
	spanKey("idle_after", "take new work after so long without input", func(p *HostPolicy) *time.Duration { return &p.IdleAfter }),
	spanKey("resume_after", "let frozen guests go on after so long without input", func(p *HostPolicy) *time.Duration { return &p.ResumeAfter }),
	spanKey("grace", "use that is over sooner does not count as use", func(p *HostPolicy) *time.Duration { return &p.Grace }),
	spanKey("hand_back_after", "give frozen guests up after so long", func(p *HostPolicy) *time.Duration { return &p.HandBackAfter }),
	percentKey("max_load", "CPU that others may use before guests yield; 0 = any", 0, func(p *HostPolicy) *int { return &p.MaxLoad }),
	{"hours", "when guests may run, local time", "any, or from-to such as 22:00-07:00, by commas", func(p *HostPolicy) string { return textHours(p.Hours) }, func(p *HostPolicy, s string) (err error) {
		p.Hours, err = parseHours(s)
		return err
	}},
	{"days", "on which days; a night belongs to its evening", "any, or such as mon-fri,sun", func(p *HostPolicy) string { return p.Days.String() }, func(p *HostPolicy, s string) (err error) {
		p.Days, err = parseDays(s)
		return err
	}},
	flagKey("ac_only", "not while on battery", func(p *HostPolicy) *bool { return &p.ACOnly }),
	percentKey("cpu_share", "share of the machine's CPU for guests", 1, func(p *HostPolicy) *int { return &p.CPUShare }),
	{"slots", "units at a time; auto = all cores but one", "auto, or a number from 1 to 4096", func(p *HostPolicy) string { return orAuto(int64(p.Slots), strconv.Itoa(p.Slots)) }, func(p *HostPolicy, s string) error {
		if s == "auto" {
			s = "0"
		} else if s == "0" {
			return fmt.Errorf("0 slots: p3 pause takes no work")
		}
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 || n > 4096 {
			return fmt.Errorf("%q is no number of slots", s)
		}
		p.Slots = n
		return nil
	}},
	sizeKey("memory", "memory for guests; auto = half of the machine's", "auto", func(p *HostPolicy) *int64 { return &p.Memory }),
	sizeKey("free_memory", "memory that must stay free for you", "any", func(p *HostPolicy) *int64 { return &p.FreeMemory }),
	sizeKey("disk", "disk for programs and data; auto = 10 GiB", "auto", func(p *HostPolicy) *int64 { return &p.Disk }),
	sizeKey("network_per_day", "bytes moved for guests in a day", "any", func(p *HostPolicy) *int64 { return &p.NetworkPerDay }),
	{"price", "credits asked per Tfuel; auto = 0.02", "auto, or credits such as 0.02", textPrice, setPrice},
	{"min_trust", "of requesters; a new one has 0.5", "a number from 0 to 1", func(p *HostPolicy) string { return strconv.FormatFloat(p.MinTrust, 'g', -1, 64) }, func(p *HostPolicy, s string) error {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil || math.IsNaN(v) || v < 0 || v > 1 {
			return fmt.Errorf("%q is not a number from 0 to 1", s)
		}
		p.MinTrust = v
		return nil
	}},
	creditKey("starter", "credits for an account that has not worked for you; auto = 2", func(p *HostPolicy) *ledger.Credits { return &p.Starter }),
	creditKey("day_budget", "credits for all such accounts in a day; auto = 10", func(p *HostPolicy) *ledger.Credits { return &p.DayBudget }),
	creditKey("tentative_cap", "in an organisation's network: credits that one account may claim before it settles; auto = 5", func(p *HostPolicy) *ledger.Credits { return &p.Tentative }),
	flagKey("native", "compile long programs with wasm2c and gcc", func(p *HostPolicy) *bool { return &p.Native }),
	ruleKey("allow", "only these; none = everybody who is not denied", func(p *HostPolicy) *[]Rule { return &p.Allow }),
	ruleKey("deny", "never these", func(p *HostPolicy) *[]Rule { return &p.Deny }),
}

// maxRules bounds each list of a policy.
const maxRules = 1000

// Get is the value of the key as text.
func (k PolicyKey) Get(p HostPolicy) string { return k.get(&p) }

// Set returns p with one key changed. An unknown key is told with the one that was probably meant.
func (p HostPolicy) Set(name, value string) (HostPolicy, error) {
	i := slices.IndexFunc(PolicyKeys, func(k PolicyKey) bool { return k.Name == name })
	if i < 0 {
		return p, unknownKey(name)
	}
	k, q := PolicyKeys[i], p
	if err := k.set(&q, strings.TrimSpace(value)); err != nil {
		return p, &Problem{Code: CodeUsage, Message: fmt.Sprintf("%s: %v", name, err), Hint: "write " + k.Form}
	}
	return q, nil
}

// Apply returns p changed by c: all of it or, with an error, nothing.
func (p HostPolicy) Apply(c PolicyChange) (HostPolicy, error) {
	q := p
	var err error
	if c.Preset != "" {
		if q, err = q.ApplyPreset(c.Preset); err != nil {
			return p, err
		}
	}
	for key, text := range c.Set {
		if q, err = q.Set(key, text); err != nil {
			return p, err
		}
	}
	return q, nil
}

// ApplyPreset is WithPreset with an error that helps.
func (p HostPolicy) ApplyPreset(name string) (HostPolicy, error) {
	q, ok := p.WithPreset(name)
	if !ok {
		return p, unknownPreset(name)
	}
	return q, nil
}

func unknownKey(name string) error {
	names := make([]string, len(PolicyKeys))
	for i, k := range PolicyKeys {
		names[i] = k.Name
	}
	hint := "the keys are " + strings.Join(names, ", ")
	if near := Nearest(name, names); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	return &Problem{Code: CodeUsage, Message: fmt.Sprintf("host policy: unknown key %q", name), Hint: hint}
}

// Nearest is the word that a misspelt one was probably meant to be, "" if none is near.
func Nearest(word string, words []string) (best string) {
	dist := 3
	for _, w := range words {
		if d := editDistance(word[:min(len(word), 64)], w); d < dist {
			best, dist = w, d
		}
	}
	return best
}

// editDistance is Levenshtein's.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		last := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			last, row[j] = row[j], min(row[j]+1, row[j-1]+1, last+cost)
		}
	}
	return row[len(b)]
}

// MarshalJSON writes an object of all keys, each as its text.
func (p HostPolicy) MarshalJSON() ([]byte, error) {
	b := append([]byte(`{"version":1,"preset":`), strconv.Quote(p.Preset)...)
	for _, k := range PolicyKeys {
		text, err := json.Marshal(k.get(&p))
		if err != nil {
			return nil, err
		}
		b = append(b, fmt.Sprintf(`,%q:%s`, k.Name, text)...)
	}
	return append(b, '}'), nil
}

// UnmarshalJSON reads what MarshalJSON wrote, or a part of it over what p holds.
func (p *HostPolicy) UnmarshalJSON(b []byte) error {
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		return err
	}
	q, err := p.take(m, func(_ string, err error) error { return err })
	if err == nil {
		*p = q
	}
	return err
}

// take applies a decoded file or object, preset first. about says of an error which key it is about.
func (p HostPolicy) take(m map[string]any, about func(key string, err error) error) (HostPolicy, error) {
	if v, ok := m["version"]; ok && fmt.Sprint(v) != "1" {
		return p, about("version", &Problem{Code: CodeUsage, Message: fmt.Sprintf("host policy: version %v, this p3 knows version 1", v), Hint: "update p3, or write the policy anew: p3 host policy --preset desktop"})
	}
	if v, ok := m["preset"]; ok && v != nil && v != "" {
		var err error
		if p, err = p.ApplyPreset(fmt.Sprint(v)); err != nil {
			return p, about("preset", err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		v := m[name]
		if name == "version" || name == "preset" {
			continue
		}
		text, err := textOf(v)
		if err != nil {
			return p, about(name, &Problem{Code: CodeUsage, Message: fmt.Sprintf("host policy: %s: %v", name, err)})
		}
		if p, err = p.Set(name, text); err != nil {
			return p, about(name, err)
		}
	}
	return p, nil
}

func unknownPreset(name string) error {
	var names []string
	for _, p := range Presets {
		names = append(names, p.Name)
	}
	hint := "there are " + strings.Join(names, ", ")
	if near := Nearest(name, names); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	return &Problem{Code: CodeUsage, Message: fmt.Sprintf("unknown preset %q", name), Hint: hint}
}

// textOf is a decoded scalar or list of scalars as a key's text.
func textOf(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", nil
	case bool:
		if v {
			return "yes", nil
		}
		return "no", nil
	case string:
		return v, nil
	case []any:
		parts := make([]string, len(v))
		for i, x := range v {
			if _, list := x.([]any); list {
				return "", fmt.Errorf("a list inside a list")
			}
			var err error
			if parts[i], err = textOf(x); err != nil {
				return "", err
			}
		}
		return strings.Join(parts, ","), nil
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), nil
	case int, int64, uint64:
		return fmt.Sprint(v), nil
	}
	return "", fmt.Errorf("a value of type %T", v)
}

func flagKey(name, help string, at func(*HostPolicy) *bool) PolicyKey {
	return PolicyKey{name, help, "yes or no", func(p *HostPolicy) string {
		if *at(p) {
			return "yes"
		}
		return "no"
	}, func(p *HostPolicy, s string) error {
		switch strings.ToLower(s) {
		case "yes", "true", "on":
			*at(p) = true
		case "no", "false", "off":
			*at(p) = false
		default:
			return fmt.Errorf("%q is neither yes nor no", s)
		}
		return nil
	}}
}

func spanKey(name, help string, at func(*HostPolicy) *time.Duration) PolicyKey {
	return PolicyKey{name, help, "a duration such as 30s, 5m or 1h", func(p *HostPolicy) string { return shortSpan(*at(p)) }, func(p *HostPolicy, s string) error {
		d, err := time.ParseDuration(s)
		if s == "0" {
			d, err = 0, nil
		}
		if err != nil || d < 0 || d > 24*time.Hour {
			return fmt.Errorf("%q is not a duration of at most a day", s)
		}
		*at(p) = d
		return nil
	}}
}

// shortSpan is a duration without the zeros that time.Duration writes behind it.
func shortSpan(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func percentKey(name, help string, least int, at func(*HostPolicy) *int) PolicyKey {
	return PolicyKey{name, help, fmt.Sprintf("percent from %d to 100", least), func(p *HostPolicy) string {
		if n := *at(p); n > 0 || least == 0 {
			return strconv.Itoa(n) + "%"
		}
		return "100%"
	}, func(p *HostPolicy, s string) error {
		n, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(s, "%")))
		if err != nil || n < least || n > 100 {
			return fmt.Errorf("%q is not a percentage from %d to 100", s, least)
		}
		if least > 0 && n == 100 {
			n = 0 // all, as if nothing had been said
		}
		*at(p) = n
		return nil
	}}
}

func sizeKey(name, help, zero string, at func(*HostPolicy) *int64) PolicyKey {
	return PolicyKey{name, help, zero + ", or a size such as 512MiB or 4GiB", func(p *HostPolicy) string {
		if n := *at(p); n > 0 {
			return textSize(n)
		}
		return zero
	}, func(p *HostPolicy, s string) error {
		if s == zero {
			*at(p) = 0
			return nil
		}
		n, err := ParseSize(s)
		if err == nil {
			*at(p) = n
		}
		return err
	}}
}

// ParseSize reads "256MiB", "1G" or a plain number of bytes; prefixes are powers of 1024.
func ParseSize(s string) (int64, error) {
	t := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSpace(s), "B"), "i")
	shift := 0
	if n := len(t); n > 0 {
		if i := strings.IndexByte("kMGT", t[n-1]); i >= 0 || t[n-1] == 'K' {
			t, shift = t[:n-1], 10*(max(i, 0)+1)
		}
	}
	v, err := strconv.ParseFloat(t, 64)
	if v *= float64(int64(1) << shift); err != nil || !(v >= 0 && v < 1<<62) {
		return 0, fmt.Errorf("%q is not a size: write a number with k, M, G or T", s)
	}
	return int64(v), nil
}

// textSize writes bytes so that ParseSize reads the same number.
func textSize(n int64) string {
	for _, u := range []struct {
		name  string
		shift int
	}{{"TiB", 40}, {"GiB", 30}, {"MiB", 20}, {"KiB", 10}} {
		if n >= 1<<u.shift && n%(1<<u.shift) == 0 {
			return strconv.FormatInt(n>>u.shift, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

func orAuto(n int64, text string) string {
	if n == 0 {
		return "auto"
	}
	return text
}

func textPrice(p *HostPolicy) string {
	if p.Price.Den == 0 {
		return "auto"
	}
	c, err := p.Price.Cost(ledger.PriceFuel)
	if err != nil {
		return "auto"
	}
	return c.Decimal()
}

func setPrice(p *HostPolicy, s string) error {
	if s == "auto" {
		p.Price = ledger.Price{}
		return nil
	}
	c, err := ledger.ParseCredits(s)
	if err != nil || c < 0 {
		return fmt.Errorf("%q is not an amount of credits per Tfuel", s)
	}
	p.Price = ledger.Price{Num: uint64(c), Den: ledger.PriceFuel}
	return nil
}

// creditKey is an amount of credits: 0 in the field stands for auto, a negative one for none.
func creditKey(name, help string, at func(*HostPolicy) *ledger.Credits) PolicyKey {
	return PolicyKey{name, help, "auto, none, or credits such as 2.50", func(p *HostPolicy) string {
		switch c := *at(p); {
		case c == 0:
			return "auto"
		case c < 0:
			return "none"
		default:
			return c.Decimal()
		}
	}, func(p *HostPolicy, s string) error {
		if s == "auto" {
			*at(p) = 0
			return nil
		}
		c, err := ledger.Credits(0), error(nil)
		if s != "none" {
			c, err = ledger.ParseCredits(s)
		}
		if err != nil || c < 0 {
			return fmt.Errorf("%q is not an amount of credits", s)
		}
		if *at(p) = c; c == 0 {
			*at(p) = -1
		}
		return nil
	}}
}

var dayNames = [7]string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// String writes the days from Monday on, runs as mon-fri; "any" for none.
func (d Days) String() string {
	if d == 0 {
		return "any"
	}
	var parts []string
	on := func(i int) bool { return i < 8 && d>>(i%7)&1 == 1 } // 1 = Monday … 7 = Sunday
	for i := 1; i < 8; i++ {
		if !on(i) {
			continue
		}
		last := i
		for on(last + 1) {
			last++
		}
		switch last - i {
		case 0:
			parts = append(parts, dayNames[i%7])
		case 1:
			parts = append(parts, dayNames[i%7], dayNames[last%7])
		default:
			parts = append(parts, dayNames[i%7]+"-"+dayNames[last%7])
		}
		i = last
	}
	return strings.Join(parts, ",")
}

func parseDays(s string) (d Days, err error) {
	if s = strings.ToLower(strings.TrimSpace(s)); s == "" || s == "any" {
		return 0, nil
	}
	for part := range strings.SplitSeq(s, ",") {
		a, b, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			b = a
		}
		from, to := slices.Index(dayNames[:], a), slices.Index(dayNames[:], b)
		if from < 0 || to < 0 {
			return 0, fmt.Errorf("%q: days are mon, tue, wed, thu, fri, sat, sun", part)
		}
		for i := from; ; i = (i + 1) % 7 {
			d |= 1 << i
			if i == to {
				break
			}
		}
	}
	if d == 1<<7-1 {
		d = 0
	}
	return d, nil
}

func textHours(list []Hours) string {
	if len(list) == 0 {
		return "any"
	}
	parts := make([]string, len(list))
	for i, h := range list {
		parts[i] = fmt.Sprintf("%02d:%02d-%02d:%02d", h.From/60, h.From%60, h.To/60, h.To%60)
	}
	return strings.Join(parts, ",")
}

func parseHours(s string) (list []Hours, err error) {
	if s = strings.TrimSpace(s); s == "" || s == "any" {
		return nil, nil
	}
	for part := range strings.SplitSeq(s, ",") {
		a, b, ok := strings.Cut(strings.TrimSpace(part), "-")
		from, e1 := parseClock(a)
		to, e2 := parseClock(b)
		if !ok || e1 != nil || e2 != nil || len(list) == 24 {
			return nil, fmt.Errorf("%q is not a part of the day", part)
		}
		list = append(list, Hours{from, to % (24 * 60)})
	}
	return list, nil
}

// parseClock reads "22", "22:30" or "24:00" as minutes after midnight.
func parseClock(s string) (int, error) {
	h, m, _ := strings.Cut(strings.TrimSpace(s), ":")
	if m == "" {
		m = "0"
	}
	hour, e1 := strconv.Atoi(h)
	minute, e2 := strconv.Atoi(m)
	if e1 != nil || e2 != nil || hour < 0 || minute < 0 || minute > 59 || hour*60+minute > 24*60 {
		return 0, fmt.Errorf("%q is not a time of day", s)
	}
	return hour*60 + minute, nil
}

func ruleKey(name, help string, at func(*HostPolicy) *[]Rule) PolicyKey {
	return PolicyKey{name, help, "none, or program:SHA256, publisher:0x…, account:0x… and peer:ID, by commas; +… adds, -… takes away", func(p *HostPolicy) string {
		if len(*at(p)) == 0 {
			return "none"
		}
		parts := make([]string, len(*at(p)))
		for i, r := range *at(p) {
			parts[i] = r.String()
		}
		return strings.Join(parts, ",")
	}, func(p *HostPolicy, s string) error {
		list, err := editRules(*at(p), s)
		if err == nil {
			*at(p) = list
		}
		return err
	}}
}

// editRules replaces a list, or with a sign in front adds to it or takes away.
func editRules(old []Rule, s string) (list []Rule, err error) {
	add, take := strings.HasPrefix(s, "+"), strings.HasPrefix(s, "-")
	if add || take {
		list, s = slices.Clone(old), s[1:]
	}
	if s == "" || s == "none" {
		return list, nil
	}
	for part := range strings.SplitSeq(s, ",") {
		r, err := parseRule(strings.TrimSpace(part))
		if err != nil {
			return nil, err
		}
		list = slices.DeleteFunc(list, func(o Rule) bool { return o == r })
		if !take {
			list = append(list, r)
		}
	}
	if len(list) > maxRules {
		return nil, fmt.Errorf("%d entries, at most %d", len(list), maxRules)
	}
	return list, nil
}

func parseRule(s string) (r Rule, err error) {
	kind, value, _ := strings.Cut(s, ":")
	r = Rule{kind, value}
	switch kind {
	case "program":
		var d ledger.Digest
		err = d.UnmarshalText([]byte(value))
		r.Value = d.String()
	case "account", "publisher":
		var a ledger.Account
		err = a.UnmarshalText([]byte(value))
		r.Value = a.String()
	case "peer":
		var id peer.ID
		id, err = peer.Decode(value)
		r.Value = id.String()
	default:
		err = fmt.Errorf("none of program:, publisher:, account: and peer: is in front")
	}
	if err != nil {
		return r, fmt.Errorf("%q: %w", s, err)
	}
	return r, nil
}

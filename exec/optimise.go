package exec

import "fmt"

// Optimise is what a job's scheduling is to care for.
type Optimise string

// Ways to optimise. "" is Balanced.
const (
	Balanced Optimise = "balanced" // everybody who fits, by a mixture of price, speed and trust; with a deadline, be done by half of it
	ForCost  Optimise = "cost"     // spend as little as the deadline allows
	ForTime  Optimise = "time"     // be done as soon as the budget allows
)

// Set reads one of the words.
func (o *Optimise) Set(s string) error {
	switch v := Optimise(s); v {
	case Balanced, ForCost, ForTime:
		*o = v
		return nil
	}
	return fmt.Errorf("optimise %.32q: give %s, %s or %s", s, ForCost, ForTime, Balanced)
}

// String is the word.
func (o Optimise) String() string {
	if o == "" {
		return string(Balanced)
	}
	return string(o)
}

// Planned reports whether it is decided ahead, from prices and speeds, who is given how much of the job; otherwise
// work goes to whoever fits and is free.
func (m Manifest) Planned() bool {
	return m.Deadline != 0 || m.Optimise == ForCost || m.Optimise == ForTime
}

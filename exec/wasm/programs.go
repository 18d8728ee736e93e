package wasm

import "sync"

// programs keeps the most recently used compiled modules of one process, by entry name.
// Safe for concurrent use.
type programs struct {
	most int

	mu    sync.Mutex // guards all below
	clock uint64
	all   map[string]*kept
}

type kept struct {
	ready chan struct{} // closed when p or err is set
	p     *program
	err   error
	users int
	last  uint64
}

func newPrograms(most int) *programs { return &programs{most: most, all: map[string]*kept{}} }

// use returns a program, loading it first when it is not here. release must be called when err is nil.
func (ps *programs) use(name string, load func() (*program, error)) (p *program, release func(), err error) {
	ps.mu.Lock()
	k := ps.all[name]
	first := k == nil
	if first {
		k = &kept{ready: make(chan struct{})}
		ps.all[name] = k
	}
	k.users++
	ps.clock++
	k.last = ps.clock
	ps.mu.Unlock()
	if first {
		k.p, k.err = load()
		close(k.ready)
	}
	<-k.ready
	if k.err != nil {
		ps.mu.Lock()
		if ps.all[name] == k {
			delete(ps.all, name)
		}
		ps.mu.Unlock()
		return nil, nil, k.err
	}
	return k.p, func() { ps.release(k) }, nil
}

func (ps *programs) release(k *kept) {
	ps.mu.Lock()
	k.users--
	var gone []*program
	for len(ps.all) > ps.most {
		oldest := ""
		for name, other := range ps.all {
			if other.users == 0 && (oldest == "" || other.last < ps.all[oldest].last) {
				oldest = name
			}
		}
		if oldest == "" {
			break
		}
		gone = append(gone, ps.all[oldest].p)
		delete(ps.all, oldest)
	}
	ps.mu.Unlock()
	for _, p := range gone {
		p.close()
	}
}

// close frees all programs. Nobody may be using one.
func (ps *programs) close() {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for name, k := range ps.all {
		<-k.ready
		if k.p != nil {
			k.p.close()
		}
		delete(ps.all, name)
	}
}

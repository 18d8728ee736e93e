package main

// A numberSet holds numbers from 0 that come nearly in order, in memory for those out of it.
type numberSet struct {
	below uint64 // all below are in
	more  map[uint64]bool
}

// add puts n in; it reports false if it was in.
func (s *numberSet) add(n uint64) bool {
	if s.has(n) {
		return false
	}
	if n > s.below {
		if s.more == nil {
			s.more = map[uint64]bool{}
		}
		s.more[n] = true
		return true
	}
	for s.below++; s.more[s.below]; s.below++ {
		delete(s.more, s.below)
	}
	return true
}

func (s *numberSet) has(n uint64) bool { return n < s.below || s.more[n] }

func (s *numberSet) len() uint64 { return s.below + uint64(len(s.more)) }

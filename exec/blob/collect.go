package blob

import (
	"github.com/personal-power-plant/p3/ledger"
)

// Pin keeps a blob from collection until its owner, a job for example, is unpinned. The blob need
// not be here yet.
func (s *Store) Pin(hash ledger.Digest, owner string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pin(hash, owner)
}

func (s *Store) pin(hash ledger.Digest, owner string) {
	if s.pins[hash] == nil {
		s.pins[hash] = make(map[string]struct{})
	}
	s.pins[hash][owner] = struct{}{}
	if s.owners[owner] == nil {
		s.owners[owner] = make(map[ledger.Digest]struct{})
	}
	s.owners[owner][hash] = struct{}{}
}

// Unpin gives up all pins of an owner. The blobs stay until their room is needed.
func (s *Store) Unpin(owner string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for hash := range s.owners[owner] {
		delete(s.pins[hash], owner)
		if len(s.pins[hash]) == 0 {
			delete(s.pins, hash)
		}
	}
	delete(s.owners, owner)
}

// SetQuota changes how many bytes the store may hold and collects what is over.
func (s *Store) SetQuota(bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.quota = max(bytes, 0)
	s.collect(0)
}

// Usage returns how full the store is.
func (s *Store) Usage() Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Usage{Blobs: len(s.blobs), Used: s.used, Pinned: s.pinned(), Quota: s.quota}
}

func (s *Store) pinned() (n int64) {
	for hash := range s.pins {
		if e := s.blobs[hash]; e != nil {
			n += e.size
		}
	}
	return n
}

// reserve counts n more bytes as used, collecting others if it must.
func (s *Store) reserve(n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n > s.quota || !s.collect(n) {
		return &FullError{Need: n, Used: s.used, Pinned: s.pinned(), Quota: s.quota}
	}
	s.used += n
	return nil
}

func (s *Store) release(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used -= n
}

// collect makes room for n bytes: abandoned transfers first, then the least recently used blobs
// that nobody pinned. It reports whether there is room; when a whole blob cannot fit, nothing is lost for it.
func (s *Store) collect(n int64) bool {
	if s.used+n <= s.quota {
		return true
	}
	if n > chunk && s.used-s.spare()+n > s.quota {
		return false
	}
	for s.used+n > s.quota {
		hash, p := s.oldestPart()
		if p == nil {
			break
		}
		s.dropPart(hash, p)
	}
	for e := s.lru.Back(); e != nil && s.used+n > s.quota; {
		b, next := e.Value.(*entry), e.Prev()
		if len(s.pins[b.hash]) == 0 && s.root.Remove(blobName(b.hash)) == nil {
			s.forget(b) // on Windows a file in use stays, and so does its entry
		}
		e = next
	}
	return s.used+n <= s.quota
}

// spare is how many bytes could be collected.
func (s *Store) spare() (n int64) {
	for _, p := range s.parts {
		if !p.busy {
			n += p.size
		}
	}
	for _, e := range s.blobs {
		if len(s.pins[e.hash]) == 0 {
			n += e.size
		}
	}
	return n
}

func (s *Store) oldestPart() (hash ledger.Digest, old *part) {
	for h, p := range s.parts {
		if !p.busy && (old == nil || p.time.Before(old.time)) {
			hash, old = h, p
		}
	}
	return hash, old
}

func (s *Store) dropPart(hash ledger.Digest, p *part) {
	_ = s.root.Remove(partName(hash)) // a file that stays is found again by the next Open
	s.used -= p.size
	delete(s.parts, hash)
}

// discard removes a blob that turned out corrupt; false when it is not the one listed any more.
func (s *Store) discard(e *entry) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.blobs[e.hash] != e {
		return false
	}
	_ = s.root.Remove(blobName(e.hash))
	s.forget(e)
	return true
}

func (s *Store) forget(e *entry) {
	s.lru.Remove(e.elem)
	delete(s.blobs, e.hash)
	s.used -= e.size
}

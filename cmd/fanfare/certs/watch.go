package certs

import (
	"crypto/sha256"
	"slices"
	"time"
)

// pollInterval is the time between two looks at the files. They are read and compared byte by byte. This takes microseconds, and
// sees every kind of replacement on every file system: renames, the symbolic links of certbot and Kubernetes, and files on NFS.
// Notifications of the system miss some of them.
const pollInterval = 5 * time.Second

// watch looks at the files until Close.
func (s *Store) watch() {
	defer close(s.done)
	ticker := time.NewTicker(s.every)
	defer ticker.Stop()
	failed := map[File][32]byte{} // what could not be used at the last look, so that each state of the files is reported once
	for {
		select {
		case <-s.stop:
			return
		case <-ticker.C:
			s.refresh(failed)
		}
	}
}

// refresh puts into effect what has changed in the files. What cannot be used stays as it is.
func (s *Store) refresh(failed map[File][32]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.current.Load()
	next := *old
	next.pairs = slices.Clone(old.pairs)
	for i, c := range next.pairs {
		if again := s.refreshPair(c, failed); again != nil {
			next.pairs[i] = again
		}
	}
	if old.clientCA != nil {
		if again := s.refreshAuthorities(old, failed); again != nil {
			next.clientCA = again
			next.config = s.configFor(&next, old)
		}
	}
	s.current.Store(&next)
	if next.config != old.config {
		s.onChange()
	}
}

// refreshPair returns what replaces c, or nil.
func (s *Store) refreshPair(c *certificate, failed map[File][32]byte) *certificate {
	cert, key, sum, err := readPair(c.files)
	switch {
	case err == nil && sum == c.sum:
		delete(failed, c.files.Cert)
		return nil
	case failed[c.files.Cert] == sum:
		return nil
	}
	var again *certificate
	if err == nil {
		again, err = parsePair(c.files, cert, key, sum)
	}
	if err != nil {
		failed[c.files.Cert] = sum
		s.failed(err)
		return nil
	}
	delete(failed, c.files.Cert)
	s.warn(again.warnings)
	s.log.Info("certificate reloaded", "file", c.files.Cert.Path, "names", names(again.pair.Leaf), "expires", again.pair.Leaf.NotAfter)
	return again
}

func (s *Store) refreshAuthorities(old *set, failed map[File][32]byte) *authorities {
	f := old.options.ClientCA
	again, err := loadAuthorities(f)
	if err != nil {
		if sum := sha256.Sum256([]byte(err.Error())); failed[f] != sum {
			failed[f] = sum
			s.failed(err)
		}
		return nil
	}
	delete(failed, f)
	if again.same(old.clientCA) {
		return nil
	}
	s.warn(again.warnings)
	s.log.Info("CA certificates of clients reloaded", "file", f.Path)
	return again
}

func (s *Store) failed(err error) {
	s.failures.Add(1)
	s.log.Error("certificate not reloaded: the previous one stays in effect", "error", err)
}

package filter

import (
	"fmt"
	"slices"
	"sync"

	"postmend/dkim"
	"postmend/dkim/arc"
	"postmend/filter/authn"
	"postmend/filter/cause"
	"postmend/filter/message"
	"postmend/filter/plan"
)

// sign puts the signatures of a delivery on top of its message. They come last: first those of DKIM, over
// what leaves, then the ARC set, over these, too.
func (j *job) sign(leaving *message.Content, d plan.Delivery, log *LogLine) error {
	f := j.filter
	if d.SignAs != "" {
		keys := j.known.Sealing.Keys
		if d.SignAs != f.config.ARC.Domain || keys == nil {
			var err error
			if keys, err = f.loadKeys(d.SignAs); err != nil {
				return cause.KeyUnusable.Failure(err)
			}
		}
		if err := leaving.Sign(keys, f.now()); err != nil {
			return err
		}
		log.signed(keys)
	}
	if d.Seal {
		return j.sealARC(leaving, log)
	}
	return nil
}

// sealARC puts an ARC set on top.
func (j *job) sealARC(leaving *message.Content, log *LogLine) error {
	f, known := j.filter, j.known
	body, err := leaving.RelaxedBody()
	if err != nil {
		return err
	}
	set, err := known.Proven.Chain.Seal(leaving.Header(), body, arc.Sealing{
		Key:     known.Sealing.Key,
		Results: authn.Format(f.config.Hostname, known.Proven.Results),
		Intact:  known.Proven.ARC.Status == dkim.Pass,
		Now:     f.now(),
	})
	if err != nil {
		return err
	}
	log.sealed(known.Sealing.Key)
	leaving.Prepend(set...)
	return nil
}

// sealingKey loads the keys of the domain that seals.
func (f *Filter) sealingKey() (s plan.SealingKey) {
	if s.Keys, s.Err = f.loadKeys(f.config.ARC.Domain); s.Err != nil {
		return s
	}
	selector := f.config.ARC.Selector
	for _, key := range s.Keys {
		switch {
		case selector != "" && key.Selector != selector:
		case key.IsRSA():
			s.Key = key
			return s
		case selector != "":
			s.Err = fmt.Errorf("arc: selector %q is that of an ed25519 key; RFC 8617 knows only RSA",
				selector)
			return s
		}
	}
	return s
}

// unsignable says why no signature over a message would be valid; nil if one would be. most is the number of
// signatures that are added.
func unsignable(m *message.Message, most int) error {
	header := slices.Clone(m.Header)
	for range most {
		header = append(header, dkim.Field("DKIM-Signature:\r\n"))
	}
	if _, err := dkim.SignedNames(header, "dkim-signature"); err != nil {
		return err
	}
	body, err := m.RelaxedBody()
	if err != nil {
		return err
	}
	_, err = body.Sum()
	return err
}

// keyring keeps the keys of domains that were loaded. The zero value is ready.
type keyring struct {
	mu   sync.Mutex
	keys map[string][]*dkim.Key
}

// loadKeys loads all keys of a domain, in a resident process only once.
func (f *Filter) loadKeys(domain string) ([]*dkim.Key, error) {
	if f.keyring == nil {
		return f.config.LoadKeys(domain)
	}
	f.keyring.mu.Lock()
	defer f.keyring.mu.Unlock()
	if keys := f.keyring.keys[domain]; keys != nil {
		return keys, nil
	}
	keys, err := f.config.LoadKeys(domain)
	if err == nil {
		if f.keyring.keys == nil {
			f.keyring.keys = map[string][]*dkim.Key{}
		}
		f.keyring.keys[domain] = keys
	}
	return keys, err
}

package filter

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"postmend/dkim"
	"postmend/dkim/arc"
	"postmend/filter/authn"
	"postmend/filter/message"
)

// sign puts the signatures of a delivery on top of its message. They come last: first those of DKIM, over what leaves, then the ARC set,
// over these, too.
func (f *Filter) sign(leaving *message.Content, d Delivery, known facts, log *LogLine) error {
	keys, sealing, err := f.keysFor(d, log)
	if err != nil {
		return &Failure{Kind: Configuration, Reason: "DKIM key cannot be used, see the mail log", Err: err}
	}
	if len(keys) == 0 && sealing == nil {
		return nil
	}
	err = leaving.Sign(keys, f.now())
	if errors.Is(err, dkim.ErrUnsignable) {
		log.note(UnsignedInvalid, err)
		return nil
	} else if err != nil {
		return err
	}
	log.signed(keys)
	if sealing == nil {
		return nil
	}
	return f.seal(leaving, sealing, known.proven, log)
}

// seal puts an ARC set on top.
func (f *Filter) seal(leaving *message.Content, key *dkim.Key, proven proof, log *LogLine) error {
	body, err := leaving.RelaxedBody()
	if err != nil {
		return err
	}
	set, err := proven.chain.Seal(leaving.Header(), body, arc.Sealing{
		Key:     key,
		Results: authn.Format(f.config.Hostname, proven.Results),
		Intact:  proven.ARC.Status == dkim.Pass,
		Now:     f.now(),
	})
	if errors.Is(err, dkim.ErrUnsignable) {
		log.note(UnsealedInvalid, err)
		return nil
	} else if err != nil {
		return err
	}
	log.sealed(key)
	leaving.Prepend(set...)
	return nil
}

// keysFor loads the keys of a delivery: those that sign, and the one that seals, nil if none does.
func (f *Filter) keysFor(d Delivery, log *LogLine) (keys []*dkim.Key, sealing *dkim.Key, err error) {
	if d.SignAs != "" {
		if keys, err = f.loadKeys(d.SignAs); err != nil {
			return nil, nil, err
		}
	}
	if !d.Seal {
		return keys, nil, nil
	}
	sealers := keys
	if d.SignAs != f.config.ARC.Domain {
		if sealers, err = f.loadKeys(f.config.ARC.Domain); err != nil {
			return nil, nil, err
		}
	}
	selector := f.config.ARC.Selector
	for _, key := range sealers {
		switch {
		case selector != "" && key.Selector != selector:
		case key.IsRSA():
			return keys, key, nil
		case selector != "":
			return nil, nil, fmt.Errorf("arc: selector %q is that of an ed25519 key; RFC 8617 knows only RSA", selector)
		}
	}
	log.note(UnsealedNoKey, f.config.ARC.Domain)
	return keys, nil, nil
}

// loadKeys loads all keys of a domain.
func (f *Filter) loadKeys(domain string) ([]*dkim.Key, error) {
	var keys []*dkim.Key
	for _, k := range f.config.keysOf(domain) {
		key, err := dkim.LoadKey(k.Domain, k.Selector, k.File)
		if errors.Is(err, fs.ErrPermission) {
			err = fmt.Errorf("%w (uid %d)", err, os.Geteuid())
		}
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

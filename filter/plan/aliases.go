package plan

import (
	"errors"
	"fmt"

	"postmend/srs"
)

// aliases are what a plan knows of the store.
type aliases struct {
	inUse bool
	// err is why senders cannot be stored, once there was trouble for longer than store_patience.
	err error
	// kept is what has been stored for the message.
	kept srs.Key
	read map[srs.Key]stored
}

// stored is what the store said about a key.
type stored struct {
	sender string
	err    error
}

// errStore is trouble with the store. Unlike srs.ErrUnknown, it says nothing about an alias.
var errStore = errors.New("the store failed")

func (a aliases) find(key srs.Key) (string, error) {
	if !a.inUse {
		return "", srs.ErrUnknown
	}
	said, known := a.read[key]
	if !known {
		return "", fmt.Errorf("%w: it was not asked", errStore)
	}
	return said.sender, said.err
}

// UseStore makes the policy plan aliases.
func (p *Policy) UseStore() { p.stored.inUse = true }

// ReadAlias asks the store for the sender behind an address, if that is an alias of ours.
func (p *Policy) ReadAlias(address string, get func(srs.Key) (string, error)) {
	if p.srs == nil || !p.OwnsSRS(address) {
		return
	}
	_, _ = p.srs.ReverseStored(address, func(key srs.Key) (string, error) {
		sender, err := get(key)
		if err != nil && !errors.Is(err, srs.ErrUnknown) {
			err = fmt.Errorf("%w: %w", errStore, err)
		}
		if p.stored.read == nil {
			p.stored.read = map[srs.Key]stored{}
		}
		p.stored.read[key] = stored{sender, err}
		return sender, err
	})
}

// IsStored tells whether the sender behind an alias was stored for this message.
func (p *Policy) IsStored(key srs.Key) bool { return p.stored.kept == key }

// NoteStored says that it was.
func (p *Policy) NoteStored(key srs.Key) { p.stored.kept = key }

// DoWithoutStore makes the policy plan without aliases, because of trouble with the store.
func (p *Policy) DoWithoutStore(err error) { p.stored.err = err }

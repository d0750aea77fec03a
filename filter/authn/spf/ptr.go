package spf

import "strings"

// matchesPTR is section 5.5. Only the names that would match are confirmed.
func (e *evaluation) matchesPTR(target string) (bool, error) {
	if err := e.findNames(); err != nil {
		return false, err
	}
	for i, name := range e.names {
		if !isWithin(name, target) {
			continue
		}
		if isConfirmed, err := e.isConfirmed(i); isConfirmed || err != nil {
			return isConfirmed, err
		}
	}
	return false, nil
}

// validatedName is the value of %{p} (section 7.3): the first confirmed one of the domain, a name below it,
// and any other name of the client's.
func (e *evaluation) validatedName(domain string) (string, error) {
	if !e.hasNames {
		if err := e.countTerm(); err != nil { // section 4.6.4: the look-up counts beside the term's own
			return "", err
		}
	}
	if err := e.findNames(); err != nil {
		return "", err
	}
	for _, isBetter := range []func(name string) bool{
		func(name string) bool { return strings.EqualFold(name, domain) },
		func(name string) bool { return isWithin(name, domain) },
		func(string) bool { return true },
	} {
		for i, name := range e.names {
			if !isBetter(name) {
				continue
			}
			if isConfirmed, err := e.isConfirmed(i); isConfirmed || err != nil {
				return name, err
			}
		}
	}
	return "unknown", nil
}

// findNames looks up the client's names, once. If DNS does not answer, there are none (section 5.5): the zone
// is the client's, not the domain's.
func (e *evaluation) findNames() error {
	if e.hasNames {
		return nil
	}
	e.hasNames = true
	names, err := e.resolver.LookupAddr(e.ctx, e.IP.String())
	if err = e.failure(err); err == tooManyLookups {
		return err
	}
	if len(names) == 0 && err == nil {
		return e.countVoid("")
	}
	for _, name := range names[:min(len(names), maxPTR)] {
		e.names = append(e.names, strings.TrimSuffix(name, "."))
	}
	return nil
}

// isConfirmed tells whether one of the client's names has its address. A name whose look-up fails does not
// count (section 5.5).
func (e *evaluation) isConfirmed(i int) (bool, error) {
	if e.confirmed[i] == notAsked {
		addresses, err := e.addresses(e.network, e.names[i])
		if err == tooManyLookups {
			return false, err
		}
		e.confirmed[i] = no
		if e.isIn(addresses, directive{bits4: 32, bits6: 128}) {
			e.confirmed[i] = yes
		}
	}
	return e.confirmed[i] == yes, nil
}

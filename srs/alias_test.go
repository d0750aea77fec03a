package srs

import (
	"errors"
	"net/mail"
	"strings"
	"testing"
	"unicode"
)

// longSenders are in the style of large senders of bulk mail, and two that Postfix reads as routing.
var longSenders = []string{
	"bounces+12345678-7c3e-recipient=forwarded.example@em1234.newsletter.example.net",
	"01020192f0a1b2c3-4d5e6f70-8192-a3b4-c5d6-e7f809102132-000000@eu-west-1.mail.example.net",
	"bounce-mc.us21_123456789.9876543-0a1b2c3d4e@mail123.atl221.rsgsv.example.net",
	"3AbCdEfGhIjKlMnOpQrStUvWxYz0123456789-AbCdEfGhIj@scoutcamp.bounces.example.com",
	"prvs=1234567890=a-very-long-name-of-a-person@department.university.example",
	strings.Repeat("x", 200) + "@example.net",
	`"odd@local"@example.net`, "user%host@example.net", "ü@[192.0.2.1]",
}

// stored is a store of one process.
type stored map[Key]string

func (s stored) find(key Key) (string, error) {
	if sender, ok := s[key]; ok {
		return sender, nil
	}
	return "", ErrUnknown
}

func (s stored) alias(t testing.TB, r *Rewriter, sender string) string {
	t.Helper()
	alias, key, err := r.Alias(sender)
	if err != nil {
		t.Fatalf("Alias(%q): %v", sender, err)
	}
	s[key] = sender
	return alias
}

func TestAnAliasLeadsToItsSenderUntilItExpires(t *testing.T) {
	for _, sender := range longSenders {
		store := stored{}
		alias := store.alias(t, rewriter(t, nil), sender)
		local, _ := cut(alias)
		if len(local) > 64 || !isDotString(local) || strings.ContainsAny(local, "@%!") ||
			!IsRewritten(alias) {
			t.Errorf("Alias(%q) = %q", sender, alias)
		}
		for days, want := range map[int]error{-1: nil, 0: nil, 21: nil, 22: ErrExpired, 400: ErrExpired,
			-2: ErrForged} {
			for _, folded := range []string{alias, strings.ToLower(alias), strings.ToUpper(alias)} {
				got, err := rewriter(t, at(days)).ReverseStored(folded, store.find)
				if !errors.Is(err, want) || want == nil && got != sender {
					t.Errorf("%q after %d days: %q, %v; want %v", folded, days, got, err, want)
				}
			}
		}
	}
}

func TestHostsWithTheSameSecretMakeTheSameAlias(t *testing.T) {
	const sender = "a@example.net"
	alias := func(r *Rewriter) string { return stored{}.alias(t, r, sender) }
	here := alias(rewriter(t, nil))
	if there := alias(rewriter(t, nil)); there != here {
		t.Errorf("%q and %q", here, there)
	}
	another := rewriter(t, func(o *Options) { o.Secrets = [][]byte{[]byte("another")} })
	for name, other := range map[string]string{
		"another day":    alias(rewriter(t, at(1))),
		"another secret": alias(another),
		"another sender": stored{}.alias(t, rewriter(t, nil), "b@example.net"),
	} {
		if tokenOf(other) == tokenOf(here) {
			t.Errorf("%s: the same token in %q and %q", name, here, other)
		}
	}
}

// tokenOf is what follows the last "=" of an alias.
func tokenOf(alias string) string {
	local, _ := cut(alias)
	return local[strings.LastIndexByte(local, '=')+1:]
}

func TestASecretThatMayStillVerifyReversesItsAliases(t *testing.T) {
	store := stored{}
	alias := store.alias(t, rewriter(t, nil), longSenders[0])
	rotated := rewriter(t, func(o *Options) { o.Secrets = [][]byte{[]byte("new"), []byte("tops3cr3t")} })
	if got, err := rotated.ReverseStored(alias, store.find); got != longSenders[0] || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestAnAliasIsGoodOnlyAsItWasMade(t *testing.T) {
	r, store := rewriter(t, nil), stored{}
	alias := store.alias(t, r, longSenders[0])
	other := store.alias(t, r, longSenders[1])
	hash, stamp := alias[5:9], alias[10:12]
	for name, tc := range map[string]struct {
		address string
		want    error
	}{
		"token of another sender": {"SRS0=" + hash + "=" + stamp + "=1=" + tokenOf(other) +
			"@example.com", ErrForged},
		"another hash": {"SRS0=AAAA=" + stamp + "=1=" + tokenOf(alias) +
			"@example.com", ErrForged},
		"another day": {"SRS0=" + hash + "=2V=1=" + tokenOf(alias) +
			"@example.com", ErrForged},
		"a token that is too short": {"SRS0=" + hash + "=" + stamp + "=1=" + tokenOf(alias)[1:] +
			"@example.com", ErrMalformed},
		"a token that is too long": {"SRS0=" + hash + "=" + stamp + "=1=" + tokenOf(alias) +
			"a@example.com", ErrMalformed},
		"a token of another alphabet": {"SRS0=" + hash + "=" + stamp + "=1=" + tokenOf(alias)[1:] +
			"0@example.com", ErrMalformed},
		"a path for a token": {"SRS0=" + hash + "=" + stamp +
			"=1=../../../../../etc/pa@example.com", ErrMalformed},
		"a stamp of another alphabet": {"SRS0=" + hash + "=??=1=" + tokenOf(alias) + "@example.com",
			ErrMalformed},
		"another domain": {
			strings.Replace(alias, "@example.com", "@example.net", 1), ErrNotSRS},
		"PostSRSd's alias, a base32hex": {"SRS0=" + hash + "=" + stamp +
			"=1=0123456789ABCDEFGHIJKLMNOPQRSTUV@example.com", ErrMalformed},
	} {
		if got, err := r.ReverseStored(tc.address, store.find); got != "" || !errors.Is(err, tc.want) {
			t.Errorf("%s: %q gives %q, %v; want %v", name, tc.address, got, err, tc.want)
		}
	}
}

// Somebody who has mail forwarded here chooses the senders that we make hashes for.
func TestNoHashOfAnotherAddressIsGoodForAnAlias(t *testing.T) {
	r := rewriter(t, nil)
	_, key, err := r.Alias(longSenders[0])
	if err != nil {
		t.Fatal(err)
	}
	find := func(Key) (string, error) { return longSenders[0], nil }
	for _, sender := range []string{
		// an SRS0 hash covers stamp, host and user, joined
		key.Token[4:] + "@1" + key.Token[:4], key.Token + "@1",
		"SRS0=" + key.Token + "@2W1", "SRS1=x=2W1=" + key.Token + "@fwd.example",
	} {
		address, err := r.Forward(sender)
		if err != nil {
			continue
		}
		forged := "SRS0=" + address[5:9] + "=2W=1=" + key.Token + "@example.com"
		if _, err := r.ReverseStored(forged, find); !errors.Is(err, ErrForged) {
			t.Errorf("the hash of %q is good for %q: %v", address, forged, err)
		}
	}
}

func TestAnAliasThatIsNotStoredIsUnknown(t *testing.T) {
	r := rewriter(t, nil)
	alias, _, err := r.Alias(longSenders[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Reverse(alias); !errors.Is(err, ErrUnknown) {
		t.Errorf("without a store: %v", err)
	}
	if _, err := r.ReverseStored(alias, stored{}.find); !errors.Is(err, ErrUnknown) {
		t.Errorf("with an empty store: %v", err)
	}
	hangs := errors.New("hangs")
	if _, err := r.ReverseStored(alias, func(Key) (string, error) { return "", hangs }); !errors.Is(err,
		hangs) {
		t.Errorf("with a store that hangs: %v", err)
	}
}

func TestAStoreCannotLeadBackOrInjectAnything(t *testing.T) {
	r := rewriter(t, nil)
	alias, _, err := r.Alias(longSenders[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, said := range []string{"", "x", "a@b\r\nRCPT TO:<x@y>", alias, "SRS0=x@example.com",
		strings.Repeat("a", 400) + "@example.net"} {
		if got, err := r.ReverseStored(alias, func(Key) (string, error) { return said, nil }); err == nil {
			t.Errorf("%q leads to %q", said, got)
		}
	}
}

// SRS1=HHHH=DOMAIN==HHHH=TT=1=TOKEN of a second forwarder has 42 octets beside our domain.
func TestAnAliasFitsIntoTheSRS1AddressOfAnotherForwarder(t *testing.T) {
	domain := strings.Repeat("d", 14) + ".example"
	us := rewriter(t, func(o *Options) { o.Domain = domain })
	them := rewriter(t, func(o *Options) {
		o.Domain, o.Secrets = "fwd.example.net", [][]byte{[]byte("theirs")}
	})
	store := stored{}
	alias := store.alias(t, us, longSenders[0])
	second, err := them.Forward(alias)
	if err != nil || !strings.HasPrefix(second, "SRS1=") {
		t.Fatalf("Forward(%q) = %q, %v", alias, second, err)
	}
	back, err := them.Reverse(second)
	if err != nil || back != alias {
		t.Fatalf("%q, %v; want %q", back, err, alias)
	}
	// Back and forth between the two, too.
	third, err := us.Forward(second)
	if err != nil || third == second {
		t.Fatalf("Forward(%q) = %q, %v", second, third, err)
	}
	if got, err := us.ReverseStored(third, store.find); got != longSenders[0] || err != nil {
		t.Errorf("%q gives %q, %v", third, got, err)
	}
}

func TestOnlyASenderGetsAnAlias(t *testing.T) {
	r := rewriter(t, nil)
	for _, sender := range []string{"", "x", "a@", "a@b\nc", `"a@b`, "SRS0=x=y=z=a@example.com"} {
		if alias, _, err := r.Alias(sender); err == nil {
			t.Errorf("Alias(%q) = %q", sender, alias)
		}
	}
	if got, err := r.Forward("a@1"); err == nil {
		t.Errorf("the SRS form of a@1 would be an alias: %q", got)
	}
}

func FuzzAlias(f *testing.F) {
	for _, sender := range longSenders {
		f.Add(sender, uint8(7), byte('x'))
	}
	f.Add("a@1", uint8(12), byte('='))
	f.Fuzz(func(t *testing.T, sender string, position uint8, replaced byte) {
		r, store := rewriter(t, nil), stored{}
		alias, key, err := r.Alias(sender)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("Alias(%q): %v", sender, err)
			}
			return
		}
		store[key] = sender
		if !IsToken(key.Token) || strings.ContainsFunc(alias, unicode.IsControl) ||
			strings.IndexByte(alias, '@') > 64 {
			t.Errorf("Alias(%q) = %q, %+v", sender, alias, key)
		}
		if back, err := r.ReverseStored(alias, store.find); !isSameMailbox(back, sender) || err != nil {
			t.Errorf("%q → %q → %q, %v", sender, alias, back, err)
		}
		// One octet changed, all that it leads to is the same sender: by case, separator or other base64.
		changed := []byte(alias)
		changed[int(position)%len(changed)] = replaced
		if back, err := r.ReverseStored(string(changed), store.find); err == nil &&
			(!isSameMailbox(back, sender) || !isSpelling(string(changed), alias)) {
			t.Errorf("%q for %q → %q", changed, alias, back)
		}
	})
}

// isSameMailbox: "0"@host and 0@host are the same (RFC 5321 section 4.1.2).
func isSameMailbox(a, b string) bool {
	local, host, err := split(a)
	local2, host2, err2 := split(b)
	return err == nil && err2 == nil && local == local2 && host == host2
}

func isSpelling(a, b string) bool {
	plain := func(s string) string {
		return strings.NewReplacer("+", "-", "/", "_").Replace(asciiLower(s[:4] + "=" + s[5:]))
	}
	return len(a) == len(b) && plain(a) == plain(b)
}

// A lookup table's answer is a list of addresses to Postfix: whoever writes to the store gets one address.
func TestAStoredSenderIsOneAddress(t *testing.T) {
	r := rewriter(t, nil)
	alias, _, err := r.Alias(longSenders[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, said := range []string{"a@one.example, b@two.example", "a,b@two.example", "a b@two.example",
		"<a@one.example>@two.example", "@one.example:b@two.example", "(a)b@two.example", "a;b@two.example"} {
		got, err := r.ReverseStored(alias, func(Key) (string, error) { return said, nil })
		list, listErr := mail.ParseAddressList(got)
		if err != nil || listErr != nil || len(list) != 1 ||
			!strings.HasSuffix(list[0].Address, "@two.example") {
			t.Errorf("%q: %q, %v; %v, %v", said, got, err, list, listErr)
		}
	}
}

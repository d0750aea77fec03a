package srs

import (
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"
)

// vectorTime gives the stamp 2W, as in PostSRSd's own tests.
var vectorTime = time.Unix(1577836860, 0).UTC()

func rewriter(t testing.TB, change func(*Options)) *Rewriter {
	t.Helper()
	options := Options{Domain: "example.com", Secrets: [][]byte{[]byte("tops3cr3t")}, Now: func() time.Time {
		return vectorTime
	}}
	if change != nil {
		change(&options)
	}
	r, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func at(days int) func(*Options) {
	return func(o *Options) { o.Now = func() time.Time { return vectorTime.AddDate(0, 0, days) } }
}

func TestForwardGivesPostSRSdsVectors(t *testing.T) {
	for _, v := range [][2]string{
		{"test@otherdomain.com", "SRS0=vmyz=2W=otherdomain.com=test@example.com"},
		{"sender@otherdomain.com", "SRS0=9KJ-=2W=otherdomain.com=sender@example.com"},
		{"hash234@somedomain.com", "SRS0=-3_5=2W=somedomain.com=hash234@example.com"},
	} {
		if got, err := rewriter(t, nil).Forward(v[0]); err != nil || got != v[1] {
			t.Errorf("Forward(%q) = %q, %v; want %q", v[0], got, err, v[1])
		}
	}
}

func TestForwardGivesPostSRSdsFormOfSRS1WithAHashOfItsOwn(t *testing.T) {
	for _, v := range [][2]string{
		{"SRS0=opaque+string@otherdomain.com", "SRS1=chaI=otherdomain.com==opaque+string@example.com"},
		{"SRS1=X=thirddomain.com==opaque+string@otherdomain.com",
			"SRS1=JIBX=thirddomain.com==opaque+string@example.com"},
	} {
		sender, postSRSd := v[0], v[1]
		got, err := rewriter(t, nil).Forward(sender)
		if err != nil || got == postSRSd || withoutHash(got) != withoutHash(postSRSd) {
			t.Errorf("Forward(%q) = %q, %v; want the form of %q and another hash", sender, got, err, postSRSd)
		}
	}
}

// withoutHash blanks the hash of an address, which has to have four characters.
func withoutHash(address string) string {
	if len(address) < len("SRS1=hhhh=") || address[len("SRS1=hhhh")] != '=' {
		return ""
	}
	return address[:len("SRS1=")] + "hhhh" + address[len("SRS1=hhhh"):]
}

func TestReverseTakesPostSRSdsVectors(t *testing.T) {
	for address, want := range map[string]string{
		"srs0=xjo9=2v=otherdomain.com=test@example.com":   "test@otherdomain.com",
		"SRS0=vmyz=2W=otherdomain.com=test@example.com":   "test@otherdomain.com",
		"SRS0=VMYZ=2W=otherdomain.com=test@Example.COM":   "test@otherdomain.com",
		"SRS0=9KJ-=2W=otherdomain.com=sender@example.com": "sender@otherdomain.com",
		"SRS0=9KJ+=2W=otherdomain.com=sender@example.com": "sender@otherdomain.com",
		"SRS0=-3_5=2W=somedomain.com=hash234@example.com": "hash234@somedomain.com",
		"SRS0=+3/5=2W=somedomain.com=hash234@example.com": "hash234@somedomain.com",
		"SRS0-vmyz=2W=otherdomain.com=test@example.com":   "test@otherdomain.com",
		"SRS0+vmyz=2W=otherdomain.com=test@example.com":   "test@otherdomain.com",
		// hashed without case, given with it
		"SRS0=vmyz=2W=OtherDomain.com=Test@example.com":        "Test@OtherDomain.com",
		"SRS1=chaI=otherdomain.com==opaque+string@example.com": "SRS0=opaque+string@otherdomain.com",
		"SRS1=JIBX=thirddomain.com==opaque+string@example.com": "SRS0=opaque+string@thirddomain.com",
	} {
		if got, err := rewriter(t, nil).Reverse(address); err != nil || got != want {
			t.Errorf("Reverse(%q) = %q, %v; want %q", address, got, err, want)
		}
	}
}

func TestReverseRefuses(t *testing.T) {
	r := rewriter(t, nil)
	for _, v := range []struct {
		address string
		want    error
	}{
		{"SRS0=te87=T7=otherdomain.com=test@example.com", ErrExpired},
		{"SRS0=VcIb=7N=otherdomain.com=test@example.com", ErrExpired}, // of the future
		{"SRS0=FAKE=2W=otherdomain.com=test@example.com", ErrForged},
		{"SRS1=FAKE=otherdomain.com==opaque+string@example.com", ErrForged},
		{"SRS0=vmyz=2V=otherdomain.com=test@example.com", ErrForged}, // every field is hashed
		{"SRS0=vmyz=2W=otherdomain.org=test@example.com", ErrForged},
		{"SRS0=vmyz=2W=otherdomain.com=tess@example.com", ErrForged},
		{"SRS1=chaI=otherdomain.com=+opaque+string@example.com", ErrForged},
		{"SRS0=vmy=2W=otherdomain.com=test@example.com", ErrForged}, // too short
		{"SRS0=v=2W=otherdomain.com=test@example.com", ErrForged},
		{"SRS0==2W=otherdomain.com=test@example.com", ErrForged},
		{"SRS0=vmyzAAAA=2W=otherdomain.com=test@example.com", ErrForged}, // only its start is right
		{"SRS0=" + strings.Repeat("v", 28) + "=2W=otherdomain.com=test@example.com", ErrForged},
		{"SRS0=vmyz=2W=otherdomain.com@example.com", ErrMalformed},     // no user
		{"SRS0=vmyz=2W=otherdomain.com=@example.com", ErrMalformed},    // an empty one
		{"SRS0=vmyz=2W==test@example.com", ErrMalformed},               // no host
		{"SRS1=chaI=otherdomain.com@example.com", ErrMalformed},        // no rest
		{"SRS1=chaI=otherdomain.com=opaque@example.com", ErrMalformed}, // rest without separator
		{"test@example.com", ErrNotSRS},
		{"SRS2=vmyz=2W=otherdomain.com=test@example.com", ErrNotSRS},
		{"SRS0@example.com", ErrNotSRS},
		{"SRS0=vmyz=2W=otherdomain.com=test@example.net", ErrNotSRS},
		{"SRS0=vmyz=2W=otherdomain.com=test@sub.example.com", ErrNotSRS},
		{"", ErrMalformed},
		{"SRS0=vmyz=2W=otherdomain.com=test", ErrMalformed},
	} {
		if got, err := r.Reverse(v.address); got != "" || !errors.Is(err, v.want) {
			t.Errorf("Reverse(%q) = %q, %v; want %v", v.address, got, err, v.want)
		}
	}
}

func TestAStampIsGoodFromTomorrowToItsAge(t *testing.T) {
	address, err := rewriter(t, nil).Forward("test@otherdomain.com")
	if err != nil {
		t.Fatal(err)
	}
	// The stamp wraps every 1024 days.
	for days, want := range map[int]error{
		-2: ErrExpired, -1: nil, 0: nil, 21: nil, 22: ErrExpired, 500: ErrExpired, 1022: ErrExpired,
		1023: nil, 1024: nil, 1046: ErrExpired,
	} {
		if _, err := rewriter(t, at(days)).Reverse(address); !errors.Is(err, want) {
			t.Errorf("after %d days: %v, want %v", days, err, want)
		}
	}
	week := rewriter(t, func(o *Options) { at(8)(o); o.MaxAge = 7 * 24 * time.Hour })
	if _, err := week.Reverse(address); !errors.Is(err, ErrExpired) {
		t.Errorf("after 8 days with a limit of 7: %v", err)
	}
}

// RFC 4648's base32 of a day number below 32 starts with A; others have dropped it.
func TestTheStampHasTwoCharactersOnEveryDay(t *testing.T) {
	for day, want := range map[int64]string{0: "AA", 5: "AF", 31: "A7", 32: "BA", 1023: "77",
		1024: "AA", -1: "77"} {
		if got := stampOf(time.Unix(day*86400, 0)); got != want {
			t.Errorf("day %d: stamp %q, want %q", day, got, want)
		}
	}
}

// The dotless i is two octets long and has an upper case of one.
func TestAHashedStampOfOtherCharactersIsMalformed(t *testing.T) {
	r := rewriter(t, nil)
	for _, stamp := range []string{"ı", "01", "A", "AAA", ""} {
		hash := r.sign(hashedSRS0(stamp, "x.example", "u"))
		address := "SRS0=" + hash + "=" + stamp + "=x.example=u@example.com"
		if got, err := r.Reverse(address); !errors.Is(err, ErrMalformed) {
			t.Errorf("stamp %q: %q, %v", stamp, got, err)
		}
	}
}

func TestEverySecretVerifiesAndTheFirstSigns(t *testing.T) {
	secrets := func(names ...string) *Rewriter {
		return rewriter(t, func(o *Options) {
			o.Secrets = nil
			for _, name := range names {
				o.Secrets = append(o.Secrets, []byte(name))
			}
		})
	}
	const sender = "test@otherdomain.com"
	byOld, _ := secrets("old").Forward(sender)
	byNew, _ := secrets("new").Forward(sender)
	both := secrets("new", "middle", "old")
	if got, err := both.Forward(sender); got != byNew || err != nil {
		t.Errorf("signed by another secret than the first: %q, %v; want %q", got, err, byNew)
	}
	for _, address := range []string{byOld, byNew} {
		if got, err := both.Reverse(address); got != sender || err != nil {
			t.Errorf("Reverse(%q) = %q, %v", address, got, err)
		}
	}
	if _, err := secrets("new", "middle").Reverse(byOld); !errors.Is(err, ErrForged) {
		t.Errorf("an address of a secret that is gone: %v", err)
	}
}

func TestALongerHashIsTakenIfItIsRightToItsEnd(t *testing.T) {
	const sender = "test@otherdomain.com"
	short := rewriter(t, nil)
	for _, length := range []int{5, 8, 20} {
		long := rewriter(t, func(o *Options) { o.HashLength = length })
		address, err := long.Forward(sender)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := short.Reverse(address); got != sender || err != nil {
			t.Errorf("Reverse(%q) = %q, %v", address, got, err)
		}
		brief, _ := short.Forward(sender)
		if got, err := long.Reverse(brief); !errors.Is(err, ErrForged) {
			t.Errorf("with %d characters Reverse(%q) = %q, %v; want %v", length, brief, got, err, ErrForged)
		}
	}
}

func TestTheLengthOfTheHashCanBeRaisedTogetherWithANewSecret(t *testing.T) {
	const sender = "test@otherdomain.com"
	secrets := func(length int, names ...string) *Rewriter {
		return rewriter(t, func(o *Options) {
			o.HashLength, o.Secrets = length, nil
			for _, name := range names {
				o.Secrets = append(o.Secrets, []byte(name))
			}
		})
	}
	before, after := secrets(4, "old"), secrets(8, "new", "old")
	short, err := before.Forward(sender)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := after.Reverse(short); got != sender || err != nil {
		t.Errorf("an address from before: %q, %v", got, err)
	}
	byNew, err := secrets(4, "new").Forward(sender)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := after.Reverse(byNew); !errors.Is(err, ErrForged) {
		t.Errorf("four characters of the new secret: %q, %v", got, err)
	}
	if got, err := secrets(8, "new").Reverse(short); !errors.Is(err, ErrForged) {
		t.Errorf("the old secret is gone: %q, %v", got, err)
	}
}

func TestALongResultIsAnError(t *testing.T) {
	r := rewriter(t, nil)
	fits := "x@" + strings.Repeat("d", 64-len("SRS0=hhhh=tt==x")-len(".com")) + ".com"
	if got, err := r.Forward(fits); err != nil || strings.IndexByte(got, '@') != 64 {
		t.Errorf("64 octets: %q, %v", got, err)
	}
	for _, address := range []string{"x" + fits, "é" + fits[1:], `"x` + " " + `"` + fits[1:],
		strings.Repeat("x", 64) + "@" + strings.Repeat("dddd.", 50) + "com"} {
		if got, err := r.Forward(address); !errors.Is(err, ErrTooLong) {
			t.Errorf("Forward(%q) = %q, %v", address, got, err)
		}
	}
}

func TestNothingIsRewrittenTwice(t *testing.T) {
	r := rewriter(t, nil)
	for _, address := range []string{
		"", "SRS0=vmyz=2W=otherdomain.com=test@example.com", "srs1-chaI=otherdomain.com==x@Example.COM",
		"SRS0=forged@example.com",
	} {
		if got, err := r.Forward(address); got != address || err != nil {
			t.Errorf("Forward(%q) = %q, %v", address, got, err)
		}
	}
}

func TestOwnsGoesByFormAndDomain(t *testing.T) {
	r := rewriter(t, nil)
	huge := strings.Repeat("x", 1<<20)
	for address, want := range map[string]bool{
		"SRS0=vmyz=2W=otherdomain.com=test@example.com": true,
		"srs1+x@EXAMPLE.com":                            true,
		"Srs0-@example.com":                             true,
		`"SRS0=x=2W=o.com=a b"@example.com`:             true,
		`"\S\R\S\0=x"@example.com`:                      true,
		"SRS0=a\r\nb@example.com":                       true, // so that it is refused, not delivered
		"SRS0=" + huge + "@example.com":                 true,
		"SRS0=x@example.net":                            false,
		"SRS0=x@example.com@example.net":                false,
		"SRS0@example.com":                              false,
		"SRS0_x@example.com":                            false,
		"SRS2=x@example.com":                            false,
		"test@example.com":                              false,
		"SRS0=x":                                        false,
		"":                                              false,
	} {
		if got := r.Owns(address); got != want {
			t.Errorf("Owns(%.80q) = %v", address, got)
		}
	}
}

func TestBadOptionsAreNamed(t *testing.T) {
	for want, change := range map[string]func(*Options){
		`"$myhostname" is not a domain name: Postfix's`: func(o *Options) { o.Domain = "$myhostname" },
		`""`:                   func(o *Options) { o.Domain = "" },
		`"a..b"`:               func(o *Options) { o.Domain = "a..b" },
		`"a b"`:                func(o *Options) { o.Domain = "a b" },
		`"a\n.b"`:              func(o *Options) { o.Domain = "a\n.b" },
		`"@example.com"`:       func(o *Options) { o.Domain = "@example.com" },
		`"[192.0.2.1]"`:        func(o *Options) { o.Domain = "[192.0.2.1]" },
		`"-a.example"`:         func(o *Options) { o.Domain = "-a.example" },
		"no secret":            func(o *Options) { o.Secrets = nil },
		"secret 2 is empty":    func(o *Options) { o.Secrets = append(o.Secrets, nil) },
		"separator '*'":        func(o *Options) { o.Separator = '*' },
		"hash_length 3":        func(o *Options) { o.HashLength = 3 },
		"hash_length 28":       func(o *Options) { o.HashLength = 28 },
		"max_age 1h0m0s":       func(o *Options) { o.MaxAge = time.Hour },
		"max_age -24h0m0s":     func(o *Options) { o.MaxAge = -24 * time.Hour },
		"between 1 and 512 da": func(o *Options) { o.MaxAge = 513 * 24 * time.Hour },
	} {
		options := Options{Domain: "example.com", Secrets: [][]byte{[]byte("s")}}
		change(&options)
		if _, err := New(options); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v", want, err)
		}
	}
	if _, err := New(Options{Domain: "srs.bücher.example", Secrets: [][]byte{[]byte("s")}}); err != nil {
		t.Errorf("a domain of U-labels, the rest left to the defaults: %v", err)
	}
}

func TestAHugeAddressCostsNoMemory(t *testing.T) {
	r := rewriter(t, nil)
	huge := `"SRS0=` + strings.Repeat(`\"`, 16<<20) + `"@example.com`
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, forward := r.Forward(huge)
	_, reverse := r.Reverse(huge)
	r.Owns(huge)
	runtime.ReadMemStats(&after)
	if spent := after.TotalAlloc - before.TotalAlloc; spent > 1<<20 {
		t.Errorf("32 MiB of address cost %d octets", spent)
	}
	for _, err := range []error{forward, reverse} {
		if !errors.Is(err, ErrMalformed) || len(err.Error()) > 2000 {
			t.Errorf("error of %d octets: %.200v", len(err.Error()), err)
		}
	}
}

func BenchmarkForward(b *testing.B) {
	r := rewriter(b, nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Forward("test@otherdomain.com"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReverse(b *testing.B) {
	r := rewriter(b, nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Reverse("SRS0=vmyz=2W=otherdomain.com=test@example.com"); err != nil {
			b.Fatal(err)
		}
	}
}

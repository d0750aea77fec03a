package srs

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postmend/tests/peer"
)

const sharedSecret = "a secret of both"

// postSRSd is a running PostSRSd 1, which Debian has. It writes base64's + and / where PostSRSd 2.2.6 and we
// write - and _, and does not take ours back, so it is asked in its own alphabet.
type postSRSd struct{ forward, reverse *table }

// table asks a tcp_table(5) server.
type table struct {
	conn    net.Conn
	replies *bufio.Reader
}

// get gives "" for what is not found.
func (q *table) get(t *testing.T, key string) string {
	t.Helper()
	fmt.Fprintf(q.conn, "get %s\n", url.PathEscape(key))
	line, err := q.replies.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	code, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	if code != "200" {
		return ""
	}
	value, err := url.PathUnescape(text)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func startPostSRSd(t *testing.T, options ...string) postSRSd {
	t.Helper()
	program := peer.Need(t, "postsrsd")
	if version, err := exec.Command(program, "-v").Output(); err != nil ||
		!strings.HasPrefix(string(version), "1.") {
		peer.Missing(t, fmt.Sprintf("postsrsd is %q, not 1.x, the last with tcp tables", version))
	}
	secrets := filepath.Join(t.TempDir(), "secrets")
	if err := os.WriteFile(secrets, []byte(sharedSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	forwardPort, reversePort := peer.FreePort(t), peer.FreePort(t)
	daemon := exec.Command(program,
		append(options, "-4", "-A", "-s"+secrets, "-dexample.com", "-f"+forwardPort, "-r"+reversePort)...)
	ended := peer.Start(t, daemon)
	return postSRSd{dial(t, forwardPort, ended), dial(t, reversePort, ended)}
}

// dial tries until the daemon listens, or has ended.
func dial(t *testing.T, port string, ended <-chan struct{}) *table {
	t.Helper()
	retry := time.NewTicker(5 * time.Millisecond)
	defer retry.Stop()
	limit := time.After(time.Minute)
	for {
		if conn, err := net.Dial("tcp4", "127.0.0.1:"+port); err == nil {
			t.Cleanup(func() { conn.Close() })
			conn.SetDeadline(time.Now().Add(time.Minute))
			return &table{conn, bufio.NewReader(conn)}
		}
		select {
		case <-retry.C:
		case <-ended:
			t.Fatal("postsrsd ended")
		case <-limit:
			t.Fatal("postsrsd does not listen")
		}
	}
}

// inItsAlphabet turns the hash of an address of ours into standard base64.
func inItsAlphabet(address string) string {
	head := len("SRS0=")
	end := head + strings.IndexByte(address[head:], '=')
	return address[:head] + strings.NewReplacer("-", "+", "_", "/").Replace(address[head:end]) + address[end:]
}

// blankHash gives an address without its hash.
func blankHash(address string) string {
	head := len("SRS0=")
	return address[:head] + address[head+strings.IndexByte(address[head:], '='):]
}

// onOneDay asks again if midnight UTC passed meanwhile, for the two programs read the clock one after the
// other.
func onOneDay(ask func()) {
	for {
		today := day(time.Now())
		ask()
		if day(time.Now()) == today {
			return
		}
	}
}

func partner(t *testing.T, change func(*Options)) *Rewriter {
	t.Helper()
	return rewriter(t, func(o *Options) {
		o.Secrets, o.Now = [][]byte{[]byte(sharedSecret)}, nil
		if change != nil {
			change(o)
		}
	})
}

// senders makes senders up: ordinary ones, and those that other forwarders rewrote.
type senders struct{ *rand.Rand }

func (s senders) word(alphabet string, longest int) string {
	runes, word := []rune(alphabet), []rune{}
	for range 1 + s.IntN(longest) {
		word = append(word, runes[s.IntN(len(runes))])
	}
	return string(word)
}

func (s senders) next() string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	local, host := s.word(letters+"+-==_~'/&", 10), s.word(letters, 6)+"."+s.word("abcxyzXYZ", 3)
	tag := func(names ...string) string { return names[s.IntN(len(names))] + s.word("=+-", 1) }
	switch s.IntN(6) {
	case 0:
		return tag("SRS0", "srs0") + s.word(letters+"-_+/", 4) + "=" + s.word("ABC234", 2) + "=o.example=" +
			s.word(letters, 3) + "@" + host
	case 1:
		return tag("SRS1", "sRs1") + s.word(letters+"-_+/", 4) + "=" + s.word(letters, 4) + ".example=" +
			s.word("=+-", 1) +
			s.word(letters, 4) + "=AB=o.example=" + s.word(letters, 3) + "@" + host
	case 2:
		return s.word("äöüßЯя"+letters, 6) + "@" + s.word("äöü", 3) + "." + host
	}
	return local + "@" + host
}

func TestPostSRSdAndWeMakeAndTakeTheSameAddresses(t *testing.T) {
	for _, form := range []struct {
		separator  byte
		hashLength int
	}{{'=', 4}, {'+', 4}, {'-', 4}, {'=', 9}} {
		t.Run(fmt.Sprintf("%c%d", form.separator, form.hashLength), func(t *testing.T) {
			daemon := startPostSRSd(t, "-a"+string(form.separator), fmt.Sprintf("-n%d", form.hashLength),
				fmt.Sprintf("-N%d", form.hashLength))
			us := partner(t, func(o *Options) { o.Separator, o.HashLength = form.separator, form.hashLength })
			random := senders{rand.New(rand.NewPCG(7, uint64(form.separator)))}
			for range 100 {
				compareForwarding(t, daemon, us, random.next())
			}
		})
	}
}

func compareForwarding(t *testing.T, daemon postSRSd, us *Rewriter, sender string) {
	t.Helper()
	var ours, theirs string
	onOneDay(func() {
		var err error
		if ours, err = us.Forward(sender); err != nil {
			t.Fatalf("Forward(%q): %v", sender, err)
		}
		theirs = daemon.forward.get(t, sender)
	})
	same := inItsAlphabet(ours) == theirs
	if hasTag(theirs, "SRS1") { // our hash covers more
		same = blankHash(ours) == blankHash(theirs)
	}
	if !same {
		t.Errorf("Forward(%q): we say %q, PostSRSd %q", sender, ours, theirs)
		return
	}
	for _, change := range []func(string) string{strings.Clone, asciiLower, asciiUpper} {
		address := change(theirs)
		ourBack, err := us.Reverse(address)
		if theirBack := daemon.reverse.get(t, address); err != nil || ourBack != theirBack {
			t.Errorf("reverse of %q: we say %q, %v, PostSRSd %q", address, ourBack, err, theirBack)
		}
	}
	for i := len("SRS0="); i < strings.LastIndexByte(theirs, '@'); i++ {
		if theirs[i] >= 0x80 || theirs[i] == '=' {
			continue
		}
		forged := theirs[:i] + another(theirs[i]) + theirs[i+1:]
		if back, err := us.Reverse(forged); err == nil {
			t.Errorf("we take the forged %q as %q", forged, back)
		}
		if back := daemon.reverse.get(t, forged); back != "" {
			t.Errorf("PostSRSd takes the forged %q as %q", forged, back)
		}
	}
}

func asciiUpper(s string) string {
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' {
			return r - 'a' + 'A'
		}
		return r
	}, s)
}

// another is not the same letter in the other case: that would not be forged.
func another(c byte) string {
	if c == 'q' || c == 'Q' {
		return "w"
	}
	return "q"
}

func TestAChainOverPostSRSdLeadsBack(t *testing.T) {
	daemon := startPostSRSd(t)
	named := func(domain, secret string) *Rewriter {
		return rewriter(t, func(o *Options) {
			o.Domain, o.Secrets, o.Now = domain, [][]byte{[]byte(secret)}, nil
		})
	}
	before, after := named("before.example", "1"), named("after.example", "3")
	random := senders{rand.New(rand.NewPCG(7, 13))}
	for range 20 {
		sender := random.word("abcXYZ=+-", 8) + "@" + random.word("xyzABC", 6) + ".org"
		step := func(name, got string, err error) string {
			if err != nil || got == "" {
				t.Fatalf("%s, of %q: %q, %v", name, sender, got, err)
			}
			return got
		}
		one, err := before.Forward(sender)
		one = step("SRS0 by us", one, err)
		two := step("SRS1 by PostSRSd", daemon.forward.get(t, one), nil)
		three, err := after.Forward(two)
		three = step("SRS1 by us", three, err)

		// The bounce skips PostSRSd: SRS1 leads to the first forwarder.
		back, err := after.Reverse(three)
		if back = step("the way back", back, err); back != daemon.reverse.get(t, two) {
			t.Errorf("back from %q: we say %q, PostSRSd %q", three, back, daemon.reverse.get(t, two))
		}
		if back, err = before.Reverse(back); back != sender || err != nil {
			t.Errorf("%q → %q → %q → %q → %q, %v", sender, one, two, three, back, err)
		}
	}
}

func TestAnAliasComesBackOverPostSRSd(t *testing.T) {
	daemon := startPostSRSd(t)
	named := func(domain, secret string) *Rewriter {
		return rewriter(t, func(o *Options) {
			o.Domain, o.Secrets, o.Now = domain, [][]byte{[]byte(secret)}, nil
		})
	}
	before, after, store := named("srs.before.example", "1"), named("after.example", "3"), stored{}
	for _, sender := range longSenders {
		alias := store.alias(t, before, sender)
		for _, spelled := range []string{alias, strings.ToLower(alias), strings.ToUpper(alias)} {
			two := daemon.forward.get(t, spelled)
			if local, _, _ := strings.Cut(two, "@"); !strings.HasPrefix(two, "SRS1") || len(local) > 64 {
				t.Fatalf("PostSRSd makes %q of %q", two, spelled)
			}
			for _, bounced := range []string{two, strings.ToLower(two)} {
				back := daemon.reverse.get(t, bounced)
				if got, err := before.ReverseStored(back, store.find); got != sender || err != nil {
					t.Errorf("%q → %q → %q → %q, %v; want %q", alias, two, back, got, err, sender)
				}
			}
			three, err := after.Forward(two)
			if err != nil {
				t.Fatal(err)
			}
			back, err := after.Reverse(strings.ToLower(three))
			if err != nil {
				t.Fatalf("%q: %v", three, err)
			}
			if got, err := before.ReverseStored(back, store.find); got != sender || err != nil {
				t.Errorf("%q → %q → %q → %q → %q, %v; want %q", alias, two, three, back, got, err, sender)
			}
		}
	}
}

func TestPostSRSdAndWeDrawTheSameLimitOfAge(t *testing.T) {
	daemon := startPostSRSd(t)
	for daysAgo, want := range map[int]bool{0: true, 1: true, 21: true, 22: false, 100: false, -2: false} {
		var ours error
		var theirs string
		onOneDay(func() {
			address, err := partner(t, func(o *Options) {
				o.Now = func() time.Time { return time.Now().UTC().AddDate(0, 0, -daysAgo) }
			}).Forward("test@otherdomain.com")
			if err != nil {
				t.Fatal(err)
			}
			_, ours = partner(t, nil).Reverse(address)
			theirs = daemon.reverse.get(t, inItsAlphabet(address))
		})
		if (ours == nil) != want || (theirs != "") != want {
			t.Errorf("made %d days ago: we say %v, PostSRSd %q; want it taken: %v", daysAgo, ours,
				theirs, want)
		}
	}
}

// Where we part from PostSRSd on purpose; each case says why.
func TestWherePostSRSdAndWeDifferInReverse(t *testing.T) {
	daemon := startPostSRSd(t)
	us := partner(t, nil)
	made, err := us.Forward("test@otherdomain.com")
	if err != nil {
		t.Fatal(err)
	}
	valid := inItsAlphabet(made)
	stamp := stampOf(time.Now())
	hash := us.sign(hashedSRS0(stamp, "otherdomain.com", ""))
	noUser := inItsAlphabet("SRS0=" + hash + "=" + stamp + "=otherdomain.com=@example.com")
	for why, address := range map[string]string{
		"a hash is right to its end, or wrong": valid[:len("SRS0=hhhh")] + "XXXX" +
			valid[len("SRS0=hhhh"):],
		"we answer for our domain only": strings.Replace(valid, "@example.com",
			"@example.net", 1),
		"nothing before the @ is no address":          noUser,
		"the last @ divides, as quotes may hold more": strings.Replace(valid, "@", "@x@", 1),
	} {
		if got, err := us.Reverse(address); err == nil {
			t.Errorf("%s: we take %q as %q", why, address, got)
		}
		if daemon.reverse.get(t, address) == "" {
			t.Errorf("%s: PostSRSd refuses %q, too", why, address)
		}
	}

	// The hash of our SRS1 is not PostSRSd's, so that no SRS0 can have it.
	guarded, err := us.Forward("SRS0=abcd=AA=o.example=u@other.example")
	if err != nil {
		t.Fatal(err)
	}
	if back := daemon.reverse.get(t, inItsAlphabet(guarded)); back != "" {
		t.Errorf("PostSRSd takes our %q as %q", guarded, back)
	}

	// A stamp of tomorrow passes here, for clocks differ over midnight.
	var ours error
	var theirs string
	onOneDay(func() {
		tomorrow, err := partner(t, func(o *Options) {
			o.Now = func() time.Time { return time.Now().UTC().AddDate(0, 0, 1) }
		}).Forward("test@otherdomain.com")
		if err != nil {
			t.Fatal(err)
		}
		_, ours = us.Reverse(tomorrow)
		theirs = daemon.reverse.get(t, inItsAlphabet(tomorrow))
	})
	if ours != nil || theirs != "" {
		t.Errorf("a stamp of tomorrow: we say %v, PostSRSd %q", ours, theirs)
	}
}

func TestPostSRSd1DoesNotKnowTheAlphabetOfItsSuccessors(t *testing.T) {
	daemon := startPostSRSd(t)
	us := partner(t, nil)
	for i := 0; ; i++ { // until a hash holds one of the two characters
		sender := fmt.Sprintf("test%d@otherdomain.com", i)
		ours, err := us.Forward(sender)
		if err != nil {
			t.Fatal(err)
		}
		theirs := inItsAlphabet(ours)
		if theirs == ours {
			continue
		}
		if got, err := us.Reverse(theirs); got != sender || err != nil {
			t.Errorf("Reverse(%q) = %q, %v", theirs, got, err)
		}
		if got := daemon.reverse.get(t, theirs); got != sender {
			t.Errorf("PostSRSd reverses %q to %q", theirs, got)
		}
		if got := daemon.reverse.get(t, ours); got != "" {
			t.Errorf("PostSRSd reverses %q to %q", ours, got)
		}
		return
	}
}

func TestWherePostSRSdAndWeDifferInForward(t *testing.T) {
	daemon := startPostSRSd(t)
	us := partner(t, nil)
	for why, v := range map[string]struct{ sender, ours, theirs string }{ // how the results start
		"the quotes go around the whole local part": {`"a b"@x.example`, `"SRS0=`, `SRS0=`},
		"the last @ divides":                        {`"a@b"@x.example`, `"SRS0=`, `SRS0=`},
		"an address literal needs quotes":           {`a@[192.0.2.1]`, `"SRS0=`, `SRS0=`},
		"a name that starts like SRS1 is a name":    {"srs1-fan@x.example", "SRS0=", ""},
		"and so is one that has no address in it":   {"SRS1=h=first.example=x@x.example", "SRS0=", "SRS1="},
		"a tag ends in a separator":                 {"SRS0@x.example", "SRS0=", "SRS1="},
		"what looks like ours stays, forged or not": {"SRS0=FAKE=2W=x.example=a@example.com",
			"SRS0=FAKE=2W=x.example=a@", "SRS1="},
	} {
		ours, err := us.Forward(v.sender)
		theirs := daemon.forward.get(t, v.sender)
		if err != nil || !strings.HasPrefix(ours, v.ours) || !strings.HasPrefix(theirs, v.theirs) ||
			(v.theirs == "") != (theirs == "") {
			t.Errorf("%s: Forward(%q): we say %q, %v, PostSRSd %q", why, v.sender, ours, err, theirs)
		}
	}
}

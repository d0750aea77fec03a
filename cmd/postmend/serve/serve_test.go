package serve

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postmend/cmd/postmend/syslog"
	"postmend/filter"
	"postmend/filter/cause"
	"postmend/filter/plan"
	"postmend/postfix/lmtp"
)

func TestAResidentProcessReadsChangedFilesAgain(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "postmend.toml")
	write := func(text string) {
		t.Helper()
		// By rename, so that the inode changes although the clock may not.
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write("hostname = \"one.example.org\"\n")
	r := &Resident{Options: Options{ConfigFile: file, Log: syslog.Log{Socket: filepath.Join(dir, "nowhere")}}}
	if err := r.load(); err != nil {
		t.Fatal(err)
	}
	hostname := func() string {
		r.watch.looked = time.Time{} // it looks at most once a second
		return r.current().config.Hostname
	}
	for _, step := range []struct{ name, text, want string }{
		{"unchanged", "", "one.example.org"},
		{"changed", "hostname = \"two.example.org\"\n", "two.example.org"},
		{"not valid", "hostname = \n", "two.example.org"},
		{"still not valid", "", "two.example.org"},
		{"valid again", "hostname = \"three.example.org\"\n", "three.example.org"},
		{"with a secret that is missing",
			"hostname = \"four.example.org\"\n[srs]\ndomain = \"srs.example.org\"\n" +
				"secrets_file = \"secrets\"\n", "four.example.org"},
	} {
		if step.text != "" {
			write(step.text)
		}
		if got := hostname(); got != step.want {
			t.Errorf("%s: %s, want %s", step.name, got, step.want)
		}
	}
	before := r.current()
	secrets := filepath.Join(dir, "secrets")
	if err := os.WriteFile(secrets, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if hostname(); r.current() == before {
		t.Error("a secret that has come is not read")
	}
	for _, mode := range []os.FileMode{0o644, 0o600} {
		before = r.current()
		if err := os.Chmod(secrets, mode); err != nil {
			t.Fatal(err)
		}
		if hostname(); r.current() == before {
			t.Errorf("a secret whose mode has become %o is not read again", mode)
		}
	}
}

func TestAChangeWhileFilesAreReadCountsAsAChange(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "first"), filepath.Join(dir, "second")
	for _, changed := range []string{"", first, second} {
		for _, file := range []string{first, second} {
			if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var w watch
		w.begin()
		w.add(first)
		if changed == first {
			os.Remove(first)
		}
		w.add(second)
		if changed == second {
			os.Remove(second)
		}
		w.looked = time.Time{} // it looks at most once a second
		if got := w.changed(); got != (changed != "") {
			t.Errorf("%q: changed %v", changed, got)
		}
	}
}

func TestLMTPIsForThisHostAlone(t *testing.T) {
	for address, want := range map[string]bool{
		"unix:/run/postmend/lmtp": true, "inet:127.0.0.1:10025": true, "inet:[::1]:10025": true,
		"inet:localhost:10025": true, "inet:192.0.2.1:10025": false, "inet:0.0.0.0:10025": false,
		"inet:[::]:10025": false, "inet:mx.example.org:10025": false,
	} {
		if got := isOnHost(address); got != want {
			t.Errorf("%s: %v, want %v", address, got, want)
		}
	}
}

// Only an operator who keeps clients from telling ORCPT may have it taken for the alias.
func TestORCPTIsTheAliasOnlyIfItIsTrusted(t *testing.T) {
	of := &lmtp.Envelope{Recipients: []lmtp.Recipient{
		{Address: "bob@remote.example", Original: "boss@example.org"},
	}}
	for trusted, want := range map[bool]plan.Recipient{
		true:  {Address: "bob@remote.example", Original: "boss@example.org"},
		false: {Address: "bob@remote.example", Claimed: "boss@example.org"},
	} {
		r := &Resident{TrustsORCPT: trusted}
		if got := r.departing(of).Recipients[0]; got != want {
			t.Errorf("trusted %v: %+v", trusted, got)
		}
	}
}

func TestEachOutcomeHasItsReply(t *testing.T) {
	for want, o := range map[lmtp.Reply]filter.Outcome{
		{Enhanced: "2.0.0", Text: "queued as X"}: {Summary: "queued as X"},
		{Enhanced: "4.4.3", Text: "later"}:       {Err: &cause.Failure{Code: "4.4.3", Reason: "later"}},
		// A code of class 5 cannot bounce what is temporary, nor one of class 4 keep what is not.
		{Enhanced: "4.3.0", Text: "later"}: {Err: &cause.Failure{Code: "5.7.1", Reason: "later"}},
		{Enhanced: "5.7.1", Text: "never?"}: {Err: &cause.Failure{Kind: cause.Policy, Code: "4.7.1",
			Reason: "never\n"}},
		{Enhanced: "5.1.1", Text: "nobody"}: {Err: &cause.Failure{Kind: cause.NoSuchUser,
			Reason: "nobody"}},
		{Enhanced: "4.3.5", Text: "key"}: {Err: &cause.Failure{Kind: cause.Configuration,
			Reason: "key"}},
	} {
		if got := replyTo(o); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

// The service of the package serves whichever sockets are enabled.
func TestSocketsOfSystemdAreServedByTheirNames(t *testing.T) {
	at := func(name, network, address string) socket {
		t.Helper()
		listener, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { listener.Close() })
		return socket{listener, name}
	}
	path := filepath.Join(t.TempDir(), "milter")
	milter, lmtp := at("milter", "unix", path), at("lmtp", "tcp", "127.0.0.1:0")
	other, open := at("postmend.socket", "tcp", "127.0.0.1:0"), at("lmtp", "tcp", "0.0.0.0:0")
	for name, row := range map[string]struct {
		flag    string // the address of --milter or --lmtp, behind its name
		sockets []socket
		want    []string // names, in order; nil if it is refused
	}{
		"both":                      {"", []socket{lmtp, milter}, []string{"lmtp", "milter"}},
		"one":                       {"", []socket{milter}, []string{"milter"}},
		"none":                      {"", nil, nil},
		"one without a name":        {"", []socket{milter, other}, nil},
		"LMTP for the world":        {"", []socket{open}, nil},
		"an address":                {"milter unix:" + path, []socket{milter}, []string{"milter"}},
		"a socket of no address":    {"milter unix:" + path, []socket{milter, lmtp}, nil},
		"an address of their names": {"lmtp " + lmtp.address(), []socket{lmtp}, []string{"lmtp"}},
	} {
		var r Resident
		switch flag, address, _ := strings.Cut(row.flag, " "); flag {
		case "milter":
			r.Milter = address
		case "lmtp":
			r.LMTP = address
		}
		services, err := r.services(row.sockets)
		if err == nil {
			err = listen(services, slices.Clone(row.sockets))
		}
		var got []string
		for _, s := range services {
			if got = append(got, s.name); err == nil && s.listener == nil {
				t.Errorf("%s: %s has no listener", name, s.name)
			}
		}
		if err != nil {
			got = nil
		}
		if !slices.Equal(got, row.want) {
			t.Errorf("%s: %v, %v; want %v", name, got, err, row.want)
		}
	}
}

package filter

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postmend/filter/cause"
	"postmend/filter/plan"
	"postmend/srs/store"
)

const (
	longSender   = "testdata/scenarios/035-sender-too-long-for-srs.txt"
	routedSender = "testdata/scenarios/045-sender-with-a-percent-sign.txt"
)

// withStore gives a scenario a store in a folder of its own.
func (w *world) withStore(t *testing.T, file string) (s scenario, dir string) {
	t.Helper()
	s, dir = w.read(t, file), filepath.Join(t.TempDir(), "srs")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s["config"] = "[srs]\nstore = \"dir:" + dir + "\"\n"
	return s, dir
}

// home makes a scenario of a bounce to an address.
func (s scenario) home(address string) scenario {
	bounce := scenario{"config": s["config"], "message": s["message"]}
	bounce["envelope"] = "from:\nto: " + address + "\nclient: 192.0.2.99\nhelo: mx.remote.example\n"
	return bounce
}

func entries(t *testing.T, dir string) (list []store.Entry) {
	t.Helper()
	s, err := store.Open(store.Options{URL: "dir:" + dir})
	if err == nil {
		err = s.List(t.Context(), func(e store.Entry) error { list = append(list, e); return e.Err })
	}
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestASenderThatDoesNotFitLeavesAsAnAliasAndItsBouncesComeHome(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0") // for a key of the world's that is too short
	w := newWorld(t)
	for _, file := range []string{longSender, routedSender} {
		s, dir := w.withStore(t, file)
		o := w.play(t, s)
		o.checkRules(t)
		if o.err != nil || len(o.sent) != 1 || o.senderWord(o.sent[0].sender) != "srs" ||
			!strings.Contains(o.log.String(), cause.SenderStored.Code()) {
			t.Fatalf("%s", o)
		}
		if list := entries(t, dir); len(list) != 1 || list[0].Sender != o.env.Sender {
			t.Errorf("stored: %v", list)
		}
		again := w.play(t, s)
		if again.err != nil || again.sent[0].sender != o.sent[0].sender || len(entries(t, dir)) != 1 {
			t.Errorf("a second time as %q, first as %q", again.sent[0].sender, o.sent[0].sender)
		}

		alias := o.sent[0].sender
		back := w.play(t, s.home(alias))
		if back.err != nil || len(back.sent) != 1 || back.sent[0].recipients[0] != o.env.Sender ||
			back.sent[0].sender != "" {
			t.Errorf("the bounce: %s", back)
		}
		// As after a lookup table has reversed it.
		table := s.home(alias)
		table["envelope"] = strings.Replace(table["envelope"], "to: "+alias,
			"to: "+o.env.Sender+"\noriginal: "+alias, 1)
		if back := w.play(t, table); back.err != nil || back.log.plan.Deliveries[0].Class != plan.Reversed {
			t.Errorf("reversed before: %s", back)
		}
		// A client may name an alias that it knows as the original recipient of anything.
		other := s.home(alias)
		other["envelope"] = strings.Replace(other["envelope"], "to: "+alias,
			"to: x@remote.example\noriginal: "+alias, 1)
		if o := w.play(t, other); o.log.plan.Deliveries[0].Class == plan.Reversed {
			t.Errorf("another recipient: %s", o)
		}
	}
}

func TestOnlyWhatTheStoreHasIsAnAlias(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0") // for a key of the world's that is too short
	w := newWorld(t)
	s, dir := w.withStore(t, longSender)
	alias := w.play(t, s).sent[0].sender
	entry, _ := filepath.Glob(dir + "/*/*/*")
	if err := os.WriteFile(entry[0], []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if o := w.play(t, s.home(alias)); o.word() != "deferred 4.3.0" {
		t.Errorf("damaged: %s", o)
	}
	if err := os.Remove(entry[0]); err != nil {
		t.Fatal(err)
	}
	if o := w.play(t, s.home(alias)); o.word() != "refused 5.1.1" {
		t.Errorf("missing: %s", o)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if o := w.play(t, s.home(alias)); o.word() != "deferred 4.3.0" {
		t.Errorf("store gone: %s", o)
	}
	delete(s, "config")
	if o := w.play(t, s.home(alias)); o.word() != "refused 5.1.1" {
		t.Errorf("without a store: %s", o)
	}
}

func TestAStoreThatFailsKeepsMailForItsPatienceAndNeverReturnsIt(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0") // for a key of the world's that is too short
	w := newWorld(t)
	s, dir := w.withStore(t, longSender)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	received := func(ago time.Duration) {
		date := w.now.Add(-ago).Format(time.RFC1123Z)
		_, rest, _ := strings.Cut(s["message"], "From: ")
		s["message"] = "Received: from mail.bank.example by mx.example.org with ESMTP id 4bXk2w1z; " + date +
			"\nFrom: " + rest
	}
	received(30 * time.Minute)
	if o := w.play(t, s); o.word() != "deferred 4.3.0" || len(o.sent) != 0 ||
		strings.Contains(cause.AsFailure(o.err).Status(), dir) {
		t.Errorf("after 30 minutes: %s", o)
	}
	received(61 * time.Minute)
	o := w.play(t, s)
	o.checkRules(t)
	if o.word() != "delivered" || o.sent[0].sender != o.env.Sender ||
		!strings.Contains(o.log.String(), cause.SenderNotStored.Code()) {
		t.Errorf("after an hour: %s", o)
	}
	short := s["config"]
	s["config"] += "store_patience = \"3h\"\n"
	if o := w.play(t, s); o.word() != "deferred 4.3.0" {
		t.Errorf("with more patience: %s", o)
	}
	s["config"] = short

	// Mail that needs no alias is not affected.
	fits := w.read(t, "testdata/scenarios/038-forwarded.txt")
	fits["config"] = s["config"]
	if o := w.play(t, fits); o.word() != "delivered" || o.senderWord(o.sent[0].sender) != "srs" {
		t.Errorf("a sender that fits: %s", o)
	}

	// With its own sender this would pass, though it did not on arrival: it must neither leave nor be
	// returned.
	s["zone"] = strings.Replace(s["zone"], "ip4:192.0.2.25", "ip4:192.0.2.80", 1)
	delete(s, "sign")
	if o := w.play(t, s); o.word() != "deferred 4.3.0" {
		t.Errorf("what would pass with its sender: %s", o)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	o = w.play(t, s)
	o.checkRules(t)
	if o.word() != "delivered" || o.senderWord(o.sent[0].sender) != "srs" {
		t.Errorf("the same with a store: %s", o)
	}
}

func TestExplainStoresNothing(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0") // for a key of the world's that is too short
	w := newWorld(t)
	s, dir := w.withStore(t, longSender)
	settings := w.config(t, s, w.dns(t, s).Addr(), "stdout:")
	f, err := New(settings, Options{})
	if err != nil {
		t.Fatal(err)
	}
	e, err := f.Explain(context.Background(), readEnvelope(t, s["envelope"]), strings.NewReader(s["message"]))
	if err != nil || len(e.Deliveries) != 1 || e.Deliveries[0].Alias.Token == "" {
		t.Errorf("%+v, %v", e, err)
	}
	if list := entries(t, dir); len(list) != 0 {
		t.Errorf("stored: %v", list)
	}
}

func TestTablesAndCommandsGiveWhatFilterSends(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0") // for a key of the world's that is too short
	w := newWorld(t)
	for _, file := range []string{longSender, routedSender} {
		s, dir := w.withStore(t, file)
		o := w.play(t, s)
		alias, sender := o.sent[0].sender, o.env.Sender
		if err := os.RemoveAll(dir + "/" + w.now.UTC().Format(time.DateOnly)); err != nil {
			t.Fatal(err)
		}
		f, err := New(o.config, Options{Now: func() time.Time { return w.now }})
		if err != nil {
			t.Fatal(err)
		}
		if got, why, err := f.Forward(sender); got != alias || err != nil {
			t.Errorf("lookup forward: %q, %s, %v; want %q", got, why, err, alias)
		}
		if got, why, err := f.Reverse(alias); got != sender || err != nil {
			t.Errorf("lookup reverse: %q, %s, %v", got, why, err)
		}
		if got, err := f.SRSAddress(sender); got != alias || err != nil {
			t.Errorf("srs forward: %q, %v", got, err)
		}
		if got, err := f.SRSOriginal(alias); got != sender || err != nil {
			t.Errorf("srs reverse: %q, %v", got, err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		for name, ask := range map[string]func(string) (string, string, error){"forward": f.Forward,
			"reverse": f.Reverse} {
			key := map[string]string{"forward": sender, "reverse": alias}[name]
			if got, _, err := ask(key); err == nil || !cause.AsFailure(err).Temporary() {
				t.Errorf("lookup %s without the folder: %q, %v", name, got, err)
			}
		}
		plain, _ := New(w.config(t, scenario{}, "127.0.0.1:53", "stdout:"), Options{})
		if got, err := plain.SRSAddress(sender); err == nil {
			t.Errorf("srs forward without a store: %q", got)
		}
		if got, why, err := plain.Reverse(alias); got != "" || why == "" || err != nil {
			t.Errorf("lookup reverse without a store: %q, %q, %v", got, why, err)
		}
	}
}

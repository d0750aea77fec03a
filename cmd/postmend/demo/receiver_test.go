package demo

import (
	"bytes"
	"testing"

	msgauth "github.com/emersion/go-msgauth/dkim"
	"github.com/emersion/go-msgauth/dmarc"

	"postmend/dkim"
	"postmend/filter/authn"
	"postmend/filter/message"
)

// The demonstration shows verdicts of our own code on what our own code has signed. Somebody else's library
// has to agree.
func TestOtherPeoplesLibrariesSeeWhatTheDemonstrationShows(t *testing.T) {
	w, err := newWorld("alice@bank.example")
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	var signed bytes.Buffer
	if err := message.Sign(&signed, bytes.NewReader([]byte(Message)), []*dkim.Key{w.senderKey}); err != nil {
		t.Fatal(err)
	}
	lookup := func(name string) ([]string, error) {
		return w.dns.Resolver().LookupTXT(t.Context(), name)
	}
	for name, text := range map[string][]byte{"signed": signed.Bytes(), "not signed": []byte(Message)} {
		without, err := w.forwardAsItIs(t.Context(), text)
		if err != nil {
			t.Fatal(err)
		}
		with, err := w.forwardMended(t.Context(), text)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range []*received{without, with} {
			theirs, err := msgauth.VerifyWithOptions(bytes.NewReader(m.content),
				&msgauth.VerifyOptions{LookupTXT: lookup})
			if err != nil || len(theirs) != len(m.DKIM) {
				t.Errorf("%s: %d signatures instead of %d, %v", name, len(theirs), len(m.DKIM), err)
				continue
			}
			for i, ours := range m.DKIM {
				if (theirs[i].Err == nil) != (ours.Status == dkim.Pass) || theirs[i].Domain != ours.Domain {
					t.Errorf("%s: %s: %v instead of %s", name, theirs[i].Domain, theirs[i].Err, ours.Status)
				}
			}
			record, err := dmarc.LookupWithOptions(m.DMARC.Domain, &dmarc.LookupOptions{LookupTXT: lookup})
			if err != nil || record.Policy != dmarc.PolicyReject ||
				m.DMARC.Policy != authn.PolicyReject {
				t.Errorf("%s: DMARC of %s: %v, %v", name, m.DMARC.Domain, record, err)
			}
		}
	}
}

package dkim

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"

	"postmend/tests/judge"
	"postmend/tests/peer"
)

// passes reduces our verdicts to what the judges say.
func passes(list []Verification) []string {
	words := []string{}
	for _, v := range list {
		if v.Status == Pass {
			words = append(words, "pass")
		} else {
			words = append(words, "fail")
		}
	}
	return words
}

// goMsgauth is the second opinion of the library that signs.
func goMsgauth(t testing.TB, records zone, messages [][]byte) judge.Verdicts {
	t.Helper()
	var all judge.Verdicts
	for _, message := range messages {
		list, err := dkim.VerifyWithOptions(bytes.NewReader(message), &dkim.VerifyOptions{
			LookupTXT: func(name string) ([]string, error) {
				return records.LookupTXT(
					t.Context(), name+".")
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		words := []string{}
		for _, v := range list {
			if v.Err == nil {
				words = append(words, "pass")
			} else {
				words = append(words, "fail")
			}
		}
		all = append(all, words)
	}
	return all
}

// openDKIMOneByOne: OpenDKIM stops at a message that it takes for malformed, and says nothing of it or the
// next ones.
func openDKIMOneByOne(t testing.TB, records zone, messages [][]byte) judge.Verdicts {
	t.Helper()
	var all judge.Verdicts
	for _, message := range messages {
		verdict := judge.New(t, records, [][]byte{message}).OpenDKIM()[0]
		if len(verdict) == 0 {
			verdict = []string{"fail"}
		}
		all = append(all, verdict)
	}
	return all
}

// differences are the rules on which some version of the others differs from us, and why. Those without a
// remark: the other one does not check it. TestTheRulesOfRFC6376 says what is right; here either verdict
// will do.
var differences = map[string]map[string]string{
	"dkimpy": {
		"3.5 i=: octets that are not UTF-8": "", "3.5 i=: what cannot be printed": "",
		"3.2: an invalid name": "", "3.5 d=: a final dot": "", "3.5 h=: without from": "",
		"3.5 x=: not after t=":             "",
		"3.5 l=: more than a number holds": "", "3.5 l=: more than there is": "",
		"3.6.1 h=: another hash": "", "3.6.1 h=: no hash": "",
		"3.6.1 t=s: i= below": "", "3.6.1 t=s: among others": "", "RFC 8463: a= and k= differ": "",
		"a control character": "",
		"RFC 8301 3.1: sha1":  "RFC 8301 forbids it", "3.5 h=: more": "our bound",
		"more tags than anybody needs": "our bound", "3.5 q=: among others": "it wants dns/txt alone",
		"3.6.1: lists of h= and s=":                    "it wants one value in s=",
		"3.7: b= in the value of another tag":          "it removes what follows every b=",
		"3.7: b= within, with blanks after it, simple": "it leaves the blanks after the value",
		"8.15: a second From: on top, not oversigned":  "it refuses a message with two",
	},
	"Mail::DKIM": {
		"3.5 i=: octets that are not UTF-8": "", "3.5 i=: what cannot be printed": "",
		"3.2: an invalid name": "", "3.2: a tag twice": "", "3.2: an unknown tag twice": "",
		"3.2: an empty tag":          "",
		"3.2: a word that is no tag": "it does not see the signature", "3.5 b=: no base64": "",
		"3.5 bh=: missing": "", "3.5 d=: a final dot": "", "3.5 h=: missing": "", "3.5 h=: without from": "",
		"3.5 l=: 77 digits": "", "3.5 l=: more than a number holds": "", "3.5 l=: more than there is": "",
		"3.5 t=: in the future": "", "3.5 t=: no number": "", "3.5 v=: missing": "", "3.5 x=: no number": "",
		"3.5 x=: not after t=": "", "3.6.1: a tag twice": "", "3.6.1 s=: no service": "",
		"3.6.1 h=: no hash": "", "a control character": "", "RFC 8301 3.1: sha1": "RFC 8301 forbids it",
		"RFC 8301 3.2: fewer": "RFC 8301 forbids it",
		"3.5 h=: more":        "our bound", "more tags than anybody needs": "our bound",
		"3.5 l=: nothing":           "it takes 0 for missing",
		"3.6.1 t=s: among others":   "it knows no blanks in a list",
		"3.6.1: lists of h= and s=": "it knows no blanks in a list",
		"RFC 8463: ed25519":         "it may not know it", "RFC 8463: a= and k= differ": "",
		"erratum 3017: RSAPublicKey": "it does not know it",
	},
	"OpenDKIM": {
		"RFC 8616: UTF-8 in i=":       "it reads ASCII only",
		"3.5 i=: a quoted local part": "it cuts at the first @",
		"3.2: an invalid name":        "", "3.2: a tag twice": "", "3.2: an unknown tag twice": "",
		"3.5 b=: no base64":   "",
		"3.5 d=: a final dot": "", "3.5 h=: an invalid name": "", "3.5 l=: 77 digits": "",
		"3.5 s=: a blank in it": "", "3.6.1: a tag twice": "",
		"RFC 8301 3.1: sha1": "RFC 8301 forbids it", "3.5 h=: more": "our bound",
		"more tags than anybody needs":      "our bound",
		"3.2: folds around everything":      "it does not know blanks before the = of b=",
		"3.7: a tag whose name ends with b": "it removes the value of that tag instead",
		"3.5 t=: a clock that is ahead":     "it allows five minutes",
		"6.1.1: no From: field at all":      "it does not take that for a message",
		"a CR within the body":              "its test mode drops it",
		"erratum 3017: RSAPublicKey":        "it does not know it",
	},
	"go-msgauth": {
		"3.6.1 p=: octets behind the key, as OpenSSL reads it": "Go's crypto/x509 wants all octets read",
		"3.5 i=: octets that are not UTF-8":                    "", "3.5 i=: what cannot be printed": "",
		"3.2: an invalid name": "", "3.2: an empty tag": "", "3.5 h=: an invalid name": "",
		"3.5 s=: a blank in it": "",
		"3.5 t=: in the future": "", "3.5 x=: not after t=": "", "3.6.1 t=s: i= below": "",
		"3.6.1 t=s: among others": "", "a control character": "", "3.5 h=: more": "our bound",
		"more tags than anybody needs": "our bound",
		"3.5 d=: in another case":      "the default of i= has the case of d=",
		"3.5 i=: in another case":      "it compares with case",
		"3.6.1 t=s: i= equal":          "it compares with case",
		"3.6.1: blanks, notes":         "it knows no tabs in p=", "3.5 l=: a part": "it refuses l=",
		"3.5 l=: nothing": "it refuses l=", "3.5 l=: text was added": "it refuses l=",
		"3.5 l=: the whole body":              "it refuses l=",
		"3.7: a tag whose name ends with b":   "it removes the value of that tag, too",
		"3.7: b= in the value of another tag": "it removes what follows every b=",
		"3.7: b= in the value of i=":          "it removes what follows every b=",
	},
}

func TestOthersFollowTheSameRulesOrTheDifferenceIsKnown(t *testing.T) {
	peer.Long(t)
	by, records := ruleKeys(t)
	var messages [][]byte
	for _, r := range rules {
		messages = append(messages, []byte(r.message(t, by)))
	}
	bench := judge.New(t, records, messages)
	for name, verdicts := range map[string]judge.Verdicts{
		"dkimpy": bench.DKIMPy(), "Mail::DKIM": bench.MailDKIM(),
		"OpenDKIM": openDKIMOneByOne(t, records, messages), "go-msgauth": goMsgauth(t, records, messages),
	} {
		of := map[string]bool{}
		for i, r := range rules {
			of[r.why] = true
			ours := passes(verifyMessage(t, string(messages[i]),
				VerifyOptions{Resolver: records, Now: func() time.Time { return now }}))
			theirs := verdicts[i]
			if len(theirs) == 1 && theirs[0] == "unknown" && ours[0] == "fail" {
				theirs = ours
			}
			if _, known := differences[name][r.why]; !known && !slices.Equal(ours, theirs) {
				t.Errorf("%s on %q: %q, ours %q", name, r.why, theirs, ours)
			}
		}
		for why := range differences[name] {
			if !of[why] {
				t.Errorf("%s: the known difference %q names no rule", name, why)
			}
		}
	}
}

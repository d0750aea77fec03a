package dkim

import (
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"postmend/tests/judge"
	"postmend/tests/peer"
)

// chosen is the number that an environment variable has, for `make differential`.
func chosen(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// signedMessage makes a message with a signature by the book, over fields of which some occur several times,
// or not at all, in every form.
func (r sampler) signedMessage(t *testing.T, by signedBy) string {
	header := r.header()
	names := []string{"from"}
	for _, name := range []string{"to", "subject", "date", "cc", "message-id", "content-type", "received",
		"resent-from", "x-spam-status", "x-absent", "list-id", "from", "from"} {
		for range r.IntN(3) {
			names = append(names, r.name(name))
		}
	}
	r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	tags := with("h="+strings.Join(names, r.pick(":", ":", " : ", ":\r\n ", "\r\n\t:")),
		r.pick("-c", "c=simple", "c=relaxed", "c=simple/relaxed", "c=relaxed/relaxed", "c=simple/simple"),
		r.pick("s=rsa", "s=rsa1024", "s=bare", "s=star"),
		r.pick("q=dns/txt", "t="+at(-1), "i=@mail.example.org", "i=joe@example.org", "z=From:a@b|To:c=3Bd"))
	tags = strings.ReplaceAll(tags, "; ", r.pick("; ", ";", ";\r\n\t", " ; "))
	tags = strings.Replace(tags, "SIGNATURE", r.pick("", " ", "\r\n ")+"SIGNATURE", 1) + r.pick("", ";")
	return by.sign(t, tags, header, r.body())
}

// change does to a message what happens on the way, or should not.
func (r sampler) change(message string) string {
	end := strings.Index(message, "\r\n\r\n")
	header, body := message[:end+2], message[end+4:]
	fields, _ := SplitHeader([]byte(header))
	list := fields[1+r.IntN(len(fields)-1):] // below the signature
	field := string(list[0])
	name, value, _ := strings.Cut(field, ":")
	other := field
	switch r.IntN(12) {
	case 0:
		other = strings.ToUpper(name) + ":" + value
	case 1:
		other = name + ": \t" + value
	case 2:
		other = strings.ReplaceAll(strings.TrimSuffix(field, "\r\n"), "\r\n", "") + "\r\n"
	case 3:
		other = strings.Replace(field, " ", "\r\n\t", 1)
	case 4:
		other = field + field
	case 5:
		other = "X-Added: 1\r\n" + field
	case 6:
		other = strings.Replace(field, "word", "wort", 1)
	case 7:
		body += "\r\n\r\n"
	case 8:
		body = strings.Replace(body, "\r\n", " \r\n", 1)
	case 9:
		body = strings.Replace(body, " ", "\t", 1)
	case 10:
		body = "more\r\n" + body
	case 11:
		body = strings.TrimRight(body, "\r\n") + "\r\n"
	}
	return strings.Replace(header, field, other, 1) + "\r\n" + body
}

// TestOthersSayTheSameOfRandomSignatures: where a signature is not disputed, every verifier agrees.
func TestOthersSayTheSameOfRandomSignatures(t *testing.T) {
	peer.Long(t)
	seed, count := chosen(t, "SEED", 1), chosen(t, "SIGNATURES", 200)
	t.Logf("SEED=%d SIGNATURES=%d", seed, count)
	by, records := ruleKeys(t)
	r := sampler{Rand: rand.New(rand.NewPCG(uint64(seed), 6376))}
	var messages [][]byte
	var ours []Verification
	counts := map[Status]int{}
	for len(messages) < count {
		message := r.signedMessage(t, by)
		if r.IntN(2) == 0 {
			message = r.change(message)
		}
		if !strings.HasSuffix(message, "\r\n") {
			message += "\r\n" // as SMTP has it
		}
		verdict := verifyMessage(t, message, VerifyOptions{Resolver: records})[0]
		if verdict.Disputed != "" {
			counts["disputed"]++
			continue
		}
		counts[verdict.Status]++
		messages, ours = append(messages, []byte(message)), append(ours, verdict)
	}
	t.Log(counts)
	if counts[Pass] < count/4 || counts[Fail] < count/10 {
		t.Error("the messages are too much alike")
	}
	bench := judge.New(t, records, messages)
	for name, verdicts := range map[string]judge.Verdicts{
		"dkimpy": bench.DKIMPy(), "Mail::DKIM": bench.MailDKIM(),
		"OpenDKIM": openDKIMOneByOne(t, records, messages), "go-msgauth": goMsgauth(t, records, messages),
	} {
		for i, verdict := range ours {
			if name == "OpenDKIM" && verdict.Header == Simple {
				continue // its test mode changes blanks in the header
			}
			want := passes([]Verification{verdict})
			if !slices.Equal(verdicts[i], want) {
				t.Errorf("%s on message %d: %q, ours %s %s\n%q", name, i, verdicts[i], verdict.Status,
					verdict.Reason, messages[i])
			}
		}
	}
}

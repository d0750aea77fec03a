package tests

import (
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	"postmend/dkim"
	"postmend/filter/message/author"
	"postmend/tests/mta"
	"postmend/tests/peer"
)

// TestTheSealOfArrivalHoldsForWhatPostfixMakesOfAddresses: address fields in many forms are submitted with
// sendmail(1). Those that we take for kept are kept, and an author that we read is the same afterwards; where
// canonical_maps give him another address, the name is the same.
func TestTheSealOfArrivalHoldsForWhatPostfixMakesOfAddresses(t *testing.T) {
	t.Parallel()
	values := addressValues(rand.New(rand.NewPCG(15, 2)), 1500)
	var header strings.Builder
	for _, value := range values {
		header.WriteString("From:" + value + "\nReply-To:" + value + "\nResent-From:" + moved(value) + "\n")
	}
	sink := mta.StartSink(t)
	dir := mta.Folder(t)
	main := "myorigin = example.org\nappend_dot_mydomain = yes\nrelayhost = [127.0.0.1]:" + sink.Port + "\n" +
		"canonical_maps = inline:{ {@moved.example=@example.org} }\n"
	mta.Start(t, dir, main, "")
	cmd := exec.Command(peer.Need(t, "sendmail"), "-C", dir, "-i", "-f", "box@example.org", "--",
		"remote@example.com")
	cmd.Stdin = strings.NewReader(header.String() + "To: bob\n\nbody\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	later := map[string][]dkim.Field{}
	fields, _ := dkim.SplitHeader(sink.Wait(1)[0].Content)
	for _, field := range fields {
		name := strings.ToLower(field.Name())
		later[name] = append(later[name], field)
	}
	if len(later["from"]) != len(values) || len(later["reply-to"]) != len(values) {
		t.Fatalf("%d and %d fields of %d", len(later["from"]), len(later["reply-to"]), len(values))
	}
	checkMoved(t, values, later["resent-from"])
	kept, same, changed := 0, 0, 0
	for i, value := range values {
		before, after := "Reply-To:"+value+"\r\n", later["reply-to"][i]
		isSame := string(dkim.Field(before).AppendRelaxed(nil)) == string(after.AppendRelaxed(nil))
		switch isKept := author.IsKept([]byte(value)); {
		case isKept && !isSame:
			t.Errorf("%q became %q", before, after)
		case isKept:
			kept++
		case !isSame:
			changed++
		}
		before, after = "From:"+value+"\r\n", later["from"][i]
		if want, ok := (author.Fields{value}).Mailbox(); ok && (author.Fields{value}).KeepsName() {
			got, ok := author.Fields{string(after.Value())}.Mailbox()
			if !ok || got != want {
				t.Errorf("%q, read as %q, became %q, read as %q", before, want, after, got)
			}
			same++
		}
	}
	t.Logf("%d fields: %d kept, %d changed; %d authors", len(values), kept, changed, same)
	if kept < 50 || changed < 50 || same < 50 {
		t.Error("too few to show anything")
	}
}

func moved(value string) string { return strings.ReplaceAll(value, "@bank.example", "@moved.example") }

// checkMoved compares values whose addresses canonical_maps change with what they became.
func checkMoved(t *testing.T, values []string, later []dkim.Field) {
	t.Helper()
	if len(later) != len(values) {
		t.Fatalf("%d fields of %d", len(later), len(values))
	}
	changed := 0
	for i, value := range values {
		want, ok := author.Fields{moved(value)}.Mailbox()
		if !ok || !(author.Fields{moved(value)}).KeepsName() {
			continue
		}
		want.Address = strings.Replace(want.Address, "@moved.example", "@example.org", 1)
		if strings.HasSuffix(want.Address, "@example.org") {
			changed++
		}
		if got, ok := (author.Fields{string(later[i].Value())}).Mailbox(); !ok || got != want {
			t.Errorf("%q became %q, read as %q", moved(value), later[i], got)
		}
	}
	if changed < 50 {
		t.Errorf("%d changed, too few to show anything", changed)
	}
}

// addressValues are values of address fields, each in one of many forms.
func addressValues(random *rand.Rand, n int) (values []string) {
	pick := func(of ...string) string {
		return of[max(0,
			random.IntN(2*len(of))-len(of))]
	} // the first in most cases
	mailbox := func() string {
		local := pick("bob", "b.smith", "\"bob\"", "\"b smith\"", "bob+x", "bob%example.net",
			"example.net!bob",
			"b..s", "bob.", "b'o", "B=ob", "\"b\\\"ob\"", "b ob", "", "bob(x)")
		domain := pick("@bank.example", "@Bank.EXAMPLE", "@bank.example.", "@host", "", "@[192.0.2.1]",
			"@bank..example", "@ bank.example", "@bank.example ", "@.bank.example", "@mail.bank.example")
		spec := local + domain
		if random.IntN(20) == 0 {
			spec = "@relay.example:" + spec
		}
		name := pick("Bob ", "", "Bob Smith ", "\"Smith, Bob\" ", "B. Smith ", "\"b@bank.example\" ",
			"=?utf-8?q?J=C3=B6rg?= ", "Bob (x) ",
			"\"B \\\"x\\\" S\" ", "(Bob) ", "Bob\n\tSmith ", "J\xc3\xb6rg ", "Smith, Bob ",
			"b@bank.example ", "Bob; ", "\"Bob ", strings.Repeat("Bob ", 30+random.IntN(50)),
			"\""+strings.Repeat("Bob ", 30+random.IntN(50))+"\" ",
			strings.Repeat("\"B\"", 30+random.IntN(50)),
			strings.Repeat("(B)", 30+random.IntN(50)), strings.Repeat("B.", 50+random.IntN(80)))
		if name == "" && random.IntN(2) == 0 {
			return spec + pick("", " (Bob)", " (Bob (x))")
		}
		return name + pick("<", "< ", "<<", "") + spec + pick(">", " >", ">>", "", "> (Bob)", "> x")
	}
	for range n {
		value := " " + mailbox()
		for random.IntN(4) == 0 {
			value += pick(", ", ",", ",\n\t", " ", ";") + mailbox()
		}
		if random.IntN(15) == 0 {
			value = " Team:" + value + pick(";", "")
		}
		values = append(values, value)
	}
	return append(values, "", " ", " undisclosed-recipients:;", " <>", " ,", " \"\"")
}

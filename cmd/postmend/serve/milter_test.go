package serve

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"postmend/cmd/postmend/syslog"
	"postmend/filter"
	"postmend/filter/cause"
	"postmend/filter/config"
	"postmend/postfix/milter"
)

// Whatever is wrong on this host, the message goes on: the filter judges it.
func TestAFaultOfOursRefusesNoMessage(t *testing.T) {
	d := &door{current: func() (*loaded, error) { panic("a fault") }, log: syslog.Log{Socket: "/nonexistent"}}
	verdict := d.judge(context.Background(), &milter.Envelope{}, strings.NewReader("From: x\r\n\r\n"))
	if verdict.Reply != "" || verdict.Delete != nil {
		t.Errorf("%+v", verdict)
	}
}

// A sender could fill the spool. What then comes from outside has a seal of its arrival all the same: without
// one, it would seem to be written here, if a program here sends it on.
func TestWhatCannotBeJudgedIsSealedIfItComesFromOutside(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"secrets": "a secret of some length\n",
		"postmend.toml": "hostname = \"mx.example.org\"\n[srs]\ndomain = \"srs.example.org\"\n" +
			"secrets_file = \"secrets\"\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	settings, err := config.Load(filepath.Join(dir, "postmend.toml"))
	if err != nil {
		t.Fatal(err)
	}
	var o Options
	use, err := o.open(settings, false)
	if err != nil {
		t.Fatal(err)
	}
	defer use.filter.Close()
	d := &door{current: func() (*loaded, error) { return use, nil }, log: syslog.Log{Socket: "/nonexistent"}}
	header := "From: boss@example.org\r\n\r\n"
	for client, want := range map[string]int{"192.0.2.66": 1, "127.0.0.1": 0} {
		for name, broken := range map[string]io.Reader{
			"no space": iotest.ErrReader(syscall.ENOSPC), "a fault of ours": faulty{},
		} {
			env := &milter.Envelope{ClientAddress: client, HELO: "x", Sender: "boss@example.org"}
			v := d.judge(context.Background(), env, io.MultiReader(strings.NewReader(header), broken))
			if len(v.Insert) != want || v.Reply != "" ||
				want > 0 && v.Insert[0].Name != "X-Postmend-Arrival" {
				t.Errorf("%s, from %s: %+v", name, client, v)
			}
		}
		v := d.judge(context.Background(), &milter.Envelope{ClientAddress: client},
			iotest.ErrReader(milter.ErrAborted))
		if len(v.Insert) > 0 {
			t.Errorf("aborted: %+v", v)
		}
	}
}

// A sender decides how long an SMTP session lasts, and so a conversation.
func TestALongConversationReadsChangedFilesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "postmend.toml")
		write := func(hostname string) {
			err := os.WriteFile(file+".new", []byte("hostname = \""+hostname+"\"\n"), 0o600)
			if err == nil {
				err = os.Rename(file+".new", file)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		ours, theirs := net.Pipe()
		defer ours.Close()
		go func() {
			defer theirs.Close()
			Milter(context.Background(), theirs, Options{ConfigFile: file, Confine: func(*filter.Filter) {},
				Log: syslog.Log{Socket: "/nonexistent"}, Now: time.Now})
		}()
		packet := func(command byte, data string) {
			n := len(data) + 1
			ours.Write(append([]byte{0, 0, byte(n >> 8), byte(n), command}, data...))
		}
		negotiated := make([]byte, 4)
		packet('O', "\x00\x00\x00\x06\x00\x00\x00\x3f\x00\x1f\xff\xff")
		io.ReadFull(ours, negotiated)
		io.ReadFull(ours, make([]byte, negotiated[3]))
		for n, hostname := range []string{"one.example.org", "two.example.org"} {
			write(hostname)
			time.Sleep(time.Hour)
			packet('M', "<a@example.net>\x00")
			packet('L', "Authentication-Results\x00 one.example.org; none\x00")
			packet('L', "Authentication-Results\x00 two.example.org; none\x00")
			packet('L', "From\x00 a@example.net\x00")
			packet('E', "")
			answer := make([]byte, 9)
			io.ReadFull(ours, answer)
			if answer[4] != 'm' || answer[8] != byte(n+1) {
				t.Errorf("%s: %q, want field %d to be removed", hostname, answer, n+1)
			}
			io.ReadFull(ours, make([]byte, int(answer[3])-5)) // its name
			io.ReadFull(ours, make([]byte, 5))                // continue
		}
	})
}

type faulty struct{}

func (faulty) Read([]byte) (int, error) { panic("a fault") }

// A reply is one line of RFC 5321, whatever a stranger has written into the message.
func TestARefusalIsOneLineOfSMTP(t *testing.T) {
	for _, row := range []struct {
		failure cause.Failure
		want    string
	}{
		{cause.Failure{Kind: cause.Policy, Code: "5.7.1", Reason: "no"}, "550 5.7.1 no"},
		{cause.Failure{Kind: cause.BadMessage, Code: "5.6.0", Reason: "no"}, "554 5.6.0 no"},
		{cause.Failure{Code: "4.4.3", Reason: "later"}, "451 4.4.3 later"},
		{cause.Failure{Err: errors.New("x"), Reason: "later"}, "451 4.3.0 later"},
		{cause.Failure{Kind: cause.Policy, Reason: "100%\r\n250 ok\x00\x1b[31m é"},
			"550 5.7.1 100???250 ok??[31m ?"},
	} {
		if got := replyOf(&row.failure); got != row.want {
			t.Errorf("%q, want %q", got, row.want)
		}
	}
	long := cause.Failure{Kind: cause.Policy, Code: "5.7.1", Reason: strings.Repeat("x", 5000)}
	if got := replyOf(&long); len(got) > 510 {
		t.Errorf("%d octets", len(got))
	}
}

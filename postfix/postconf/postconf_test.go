package postconf

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"

	"postmend/tests/peer"
)

const masterLines = `
smtp      inet  n       -       y       -       -       smtpd
relay     unix  -       -       y       -       -       smtp
        -o syslog_name=postfix/$service_name
postmend  unix  -       n       n       -       20      pipe
  -o { pipe_delivery_status_filter = regexp:{{/^5(\.[35]\.[0-9]+ .*)/ 4$$1}} }
  flags=q user=postmend null_sender=
  argv=/usr/local/bin/postmend filter -f ${sender} -- ${recipient}
[::1]:10026  inet n - n - - smtpd -v -o content_filter= -o mynetworks=127.0.0.0/8
`

func open(t *testing.T, main string) *Config {
	t.Helper()
	peer.Need(t, "postconf")
	dir := t.TempDir()
	for name, text := range map[string]string{"main.cf": main, "master.cf": masterLines} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	peer.Age(t, dir)
	c, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestParametersAreReadAsWrittenAndExpanded(t *testing.T) {
	c := open(t, "myhostname = mx.example.org\nmydestination = $myhostname,\n  localhost\n")
	if got := c.Get("mydestination"); got != "$myhostname, localhost" {
		t.Errorf("mydestination as written: %q", got)
	}
	if got, err := c.Expand("mydestination"); got != "mx.example.org, localhost" || err != nil {
		t.Errorf("mydestination expanded: %q, %v", got, err)
	}
	if !c.IsSet("myhostname") || c.IsSet("relayhost") || c.Get("hopcount_limit") != "50" {
		t.Error("defaults and settings are not told apart")
	}
	if !c.Version.AtLeast(3, 0) || c.Version.AtLeast(99, 0) {
		t.Errorf("version %v", c.Version)
	}
}

func TestServicesHaveColumnsOptionsAndArguments(t *testing.T) {
	c := open(t, "")
	s, found := c.Service("postmend/unix")
	if !found || s.Program != "pipe" || s.Unprivileged != "n" || s.ProcessLimit != "20" {
		t.Fatalf("%+v", s)
	}
	if want := map[string]string{
		"pipe_delivery_status_filter": `regexp:{{/^5(\.[35]\.[0-9]+ .*)/ 4$$1}}`}; !reflect.DeepEqual(
		s.Options, want) {
		t.Errorf("options %q", s.Options)
	}
	const attributes = "flags=q user=postmend null_sender= argv=/usr/local/bin/postmend filter -f " +
		"${sender} -- ${recipient}"
	if s.Arguments != attributes {
		t.Errorf("arguments %q", s.Arguments)
	}
	listener, _ := c.Service("[::1]:10026/inet")
	if want := map[string]string{"content_filter": "", "mynetworks": "127.0.0.0/8"}; !reflect.DeepEqual(
		listener.Options, want) || listener.Arguments != "" {
		t.Errorf("listener: %+v", listener)
	}
}

func TestAnExpandedConfigurationHasNoNamesLeft(t *testing.T) {
	c := open(t, "myhostname = mx.example.org\nmydestination = $myhostname, localhost\n")
	expanded, err := c.Expanded()
	if err != nil {
		t.Fatal(err)
	}
	if got := expanded.Get("mydestination"); got != "mx.example.org, localhost" {
		t.Errorf("mydestination: %q", got)
	}
	s, _ := expanded.Service("postmend/unix")
	if s.Options["pipe_delivery_status_filter"] != `regexp:{{/^5(\.[35]\.[0-9]+ .*)/ 4$1}}` {
		t.Errorf("options %q", s.Options)
	}
}

func TestTablesAnswerYesNoOrAnError(t *testing.T) {
	c := open(t, "queue_directory = /\nalias_maps =\nalias_maps = # it warns of the second\n")
	for _, row := range []struct {
		table, key, value string
		found, fails      bool
	}{
		{"inline:{a.example=yes}", "a.example", "yes", true, false},
		{"inline:{a.example=yes}", "b.example", "", false, false},
		{"inline:{-=yes}", "-", "", false, false},
		{"hash:/nonexistent", "a.example", "", false, true},
		{"nosuchtype:/x", "a.example", "", false, true},
	} {
		value, found, err := c.Lookup(t.Context(), row.table, row.key)
		if value != row.value || found != row.found || (err != nil) != row.fails {
			t.Errorf("%s in %s: %q, %t, %v", row.key, row.table, value, found, err)
		}
	}
}

func TestATableIsAskedForManyKeysAtOnce(t *testing.T) {
	c := open(t, "queue_directory = /\nalias_maps =\nalias_maps = # it warns of the second\n")
	values, err := c.Lookups(t.Context(), "regexp:{{/^5 (.*)/ 4 $1}}", []string{"5 a b", "6 c", "5 d"})
	want := map[string]string{"5 a b": "4 a b", "5 d": "4 d"}
	if !reflect.DeepEqual(values, want) || err != nil {
		t.Errorf("%q, %v", values, err)
	}
	if _, err := c.Lookups(t.Context(), "nosuchtype:/x", []string{"a"}); err == nil {
		t.Error("a table that does not exist answered")
	}
}

func TestCommandsChangeTheConfigurationAndReadTheSameInAShell(t *testing.T) {
	c := open(t, "mydestination = localhost\n")
	value := `a 'b' "c" $$(touch x) \ $myhostname`
	for _, cmd := range []Command{
		c.SetCommand(Parameter{"smtpd_banner", value}, Parameter{"relayhost", "[127.0.0.1]:25"}),
		c.UnsetCommand("mydestination"),
		c.SetServiceCommand("new/unix", "new unix - n n - 0 spawn user=nobody argv=/bin/true"),
		c.UnsetServiceCommand("relay/unix"),
		c.SetOptionCommand("smtp/inet", "content_filter", "x:y"),
		c.UnsetOptionCommand("[::1]:10026/inet", "mynetworks"),
		c.SetFieldCommand("smtp/inet/chroot", "n"),
	} {
		if out, err := exec.Command("sh", "-c", cmd.String()).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", cmd, err, out)
		}
	}
	c, err := Open(c.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if c.Get("smtpd_banner") != value || c.Get("relayhost") != "[127.0.0.1]:25" || c.IsSet("mydestination") {
		t.Errorf("main.cf: %q", c.set)
	}
	smtp, _ := c.Service("smtp/inet")
	listener, _ := c.Service("[::1]:10026/inet")
	spawn, added := c.Service("new/unix")
	_, kept := c.Service("relay/unix")
	if smtp.Options["content_filter"] != "x:y" || smtp.Chroot != "n" || len(listener.Options) != 1 ||
		!added || spawn.Program != "spawn" || kept {
		t.Errorf("master.cf: %+v", c.services)
	}
}

func TestTheOtherInstancesOfAHostAreFound(t *testing.T) {
	second, third := open(t, ""), open(t, "")
	own := open(t, "multi_instance_directories = "+second.Dir+"\nalternate_config_directories = "+third.Dir+
		", /nonexistent\n")
	t.Setenv("MAIL_CONFIG", own.Dir)
	for _, row := range []struct {
		of   *Config
		want []string
	}{
		{second, []string{own.Dir, third.Dir}},
		{own, []string{second.Dir, third.Dir}},
	} {
		var got []string
		for _, other := range row.of.Others() {
			got = append(got, other.Dir)
		}
		if !reflect.DeepEqual(got, row.want) {
			t.Errorf("beside %s: %q, want %q", row.of.Dir, got, row.want)
		}
	}
	t.Setenv("MAIL_CONFIG", t.TempDir())
	if got := second.Others(); got != nil {
		t.Errorf("beside the only one: %v", got)
	}
}

func TestAPortIsFoundByItsNumber(t *testing.T) {
	c := open(t, "")
	for port, want := range map[string]string{"25": "smtp/inet", "10026": "[::1]:10026/inet", "587": ""} {
		id := ""
		if s, found := c.AtPort(port); found {
			id = s.ID()
		}
		if id != want {
			t.Errorf("%s: %q, want %q", port, id, want)
		}
	}
}

func TestKeysOfATableAreListed(t *testing.T) {
	c := open(t, "")
	table := filepath.Join(t.TempDir(), "table")
	if err := os.WriteFile(table, []byte("b.example x\na.example y\nc@a.example z z\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := c.Keys(t.Context(), "texthash:"+table)
	want := []string{"a.example", "b.example", "c@a.example"}
	if !reflect.DeepEqual(got, want) || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	for _, table := range []string{"texthash:/nonexistent", "regexp:" + table, "socketmap:unix:x:y"} {
		if _, err := c.Keys(t.Context(), table); err == nil {
			t.Errorf("%s: no error", table)
		}
	}
}

package check

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"postmend/postfix/access"
	"postmend/postfix/postconf"
	"postmend/tests/peer"
)

const mainLines = `
queue_directory = /var/spool/postfix
content_filter = postmend:dummy
postmend_time_limit = 300s
postmend_destination_recipient_limit = 1
mydestination = example.org
`

const masterLines = `
smtp       inet  n  -  n  -  -  smtpd
postmend   unix  -  n  n  -  100 pipe
  -o { pipe_delivery_status_filter = regexp:{{/^5(\.[35]\.[0-9]+ .*)/ 4$$1}} }
  flags=q user=postmend-test null_sender=
  argv=/bin/postmend filter -f ${sender} --size=${size} -- ${recipient}
127.0.0.1:10026 inet n - n - - smtpd -o content_filter=
[::1]:10027  inet n - n - - smtpd
10028        inet n - n - - smtpd -o content_filter= -o receive_override_options=no_address_mappings
10029        inet n - n - - smtpd
submission   inet n - n - - smtpd
mended       unix n - n - - smtpd
reverse      unix - n n - 0 spawn user=postmend-test argv=/bin/postmend lookup reverse --protocol socketmap
127.0.0.1:10002 inet n n n - 0 spawn user=postmend-test argv=/bin/postmend lookup reverse
`

// hostOf reads a configuration of these lines.
func hostOf(t *testing.T, main, master string, ours postmend) *host {
	t.Helper()
	peer.Need(t, "postconf")
	peer.NeedAccount(t)
	dir := t.TempDir()
	for name, text := range map[string]string{"main.cf": main, "master.cf": master} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	peer.Age(t, dir)
	if ours.Target == "" {
		ours.Target = "smtp://127.0.0.1:10026"
	}
	ours.Deadline, ours.SpoolDir, ours.Program = time.Minute, t.TempDir(), "/bin/postmend"
	if ours.IsLocal == nil {
		ours.IsLocal = func(string) bool { return true }
	}
	h, err := gather(t.Context(), dir, ours)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func named(findings []Finding, name string, severity Severity) []string {
	var texts []string
	for _, f := range findings {
		if f.Name == name && f.Severity == severity {
			texts = append(texts, f.What)
		}
	}
	return texts
}

func TestATargetFindsItsListener(t *testing.T) {
	h := hostOf(t, mainLines, masterLines, postmend{})
	for target, want := range map[string]string{
		"smtp://127.0.0.1:10026":                 "127.0.0.1:10026/inet",
		"smtp://localhost:10026":                 "127.0.0.1:10026/inet",
		"smtp://[::1]:10026":                     "",
		"smtp://[::1]:10027":                     "[::1]:10027/inet",
		"smtp://127.0.0.1:10028?starttls=never":  "10028/inet",
		"smtp://127.0.0.1:10029":                 "", // takes mail from others
		"smtp://127.0.0.1:587":                   "",
		"smtp://127.0.0.1:25":                    "",
		"smtp://192.0.2.1:10026":                 "",
		"unix:/var/spool/postfix/public/mended":  "mended/unix",
		"unix:/var/spool/postfix//public/mended": "mended/unix",
		"unix:/var/spool/postfix/private/mended": "",
		"smtps://127.0.0.1:10026":                "",
		"sendmail:/usr/sbin/sendmail":            "",
	} {
		h.Target, h.listener = target, nil
		h.findListener()
		found := ""
		if h.listener != nil {
			found = h.listener.ID()
		}
		if found != want {
			t.Errorf("%s: %q, want %q", target, found, want)
		}
	}
}

func TestAMapFindsItsService(t *testing.T) {
	h := hostOf(t, mainLines, masterLines, postmend{})
	for entry, want := range map[string]string{
		"socketmap:unix:private/reverse:reverse":              "reverse/unix",
		"socketmap:unix:/var/spool/postfix/private/reverse:x": "reverse/unix",
		"tcp:127.0.0.1:10002":                                 "127.0.0.1:10002/inet",
		"tcp:localhost:10002":                                 "127.0.0.1:10002/inet",
		"socketmap:inet:127.0.0.1:10002:reverse":              "127.0.0.1:10002/inet",
		"tcp:127.0.0.1:10001":                                 "",
		"socketmap:unix:srs:reverse":                          "",
		"socketmap:":                                          "",
		"hash:/etc/aliases":                                   "",
	} {
		found := ""
		if table := h.tableAt(entry); table != nil {
			found = table.ID()
		}
		if found != want {
			t.Errorf("%s: %q, want %q", entry, found, want)
		}
	}
	got := entries("hash:/a, pipemap:{regexp:{{/x{2} y/ z, w}}, socketmap:unix:private/reverse:reverse}, " +
		"proxy:mysql:/b")
	if want := []string{"hash:/a", "regexp:{{/x{2} y/ z, w}}", "socketmap:unix:private/reverse:reverse",
		"mysql:/b"}; !reflect.DeepEqual(got, want) {
		t.Errorf("tables within tables: %q", got)
	}
}

// ${envid} came with Postfix 3.9, tables within a parameter with 3.7.
func TestTheVersionDecides(t *testing.T) {
	peer.Long(t)
	asksEnvid := strings.Replace(masterLines, "--size", "--envid=${envid} --size", 1)
	for _, row := range []struct {
		version   postconf.Version
		master    string
		wrong     bool   // the macro is not known
		command   string // a part of what mends
		byAFile   bool
		complains bool // of a flag that is missing
	}{
		{postconf.Version{Major: 3, Minor: 4}, asksEnvid, true, "regexp:", true, false},
		{postconf.Version{Major: 3, Minor: 7}, asksEnvid, true, "regexp:{{", false, false},
		{postconf.Version{Major: 3, Minor: 9}, asksEnvid, false, "--envid=${envid}", false, false},
		{postconf.Version{Major: 3, Minor: 9}, masterLines, false, "--envid=${envid}", false, true},
		{postconf.Version{Major: 3, Minor: 8}, masterLines, false, "--size=${size}", false, false},
	} {
		h := hostOf(t, mainLines, row.master, postmend{})
		h.config.Version = row.version
		findings := judgePostfix(h)
		if got := named(findings, "filter-macros", Error); (got != nil) != row.wrong {
			t.Errorf("%s: macros: %q", row.version, got)
		}
		missing := named(findings, "filter-arguments", Note)
		if slices.ContainsFunc(missing, func(s string) bool {
			return strings.Contains(s,
				"--envid")
		}) != row.complains {
			t.Errorf("%s: arguments: %q", row.version, missing)
		}
		h.statuses["5.3.0 internal software error"] = "5.3.0 internal software error"
		mend := h.mendStatusFilter()
		if !strings.Contains(mend, row.command) || strings.HasPrefix(mend, "printf ") != row.byAFile {
			t.Errorf("%s: %s", row.version, mend)
		}
	}
}

// postconf(5), alternate_config_directories.
func TestSendmailNeedsAForeignDirectoryToBeNamed(t *testing.T) {
	h := hostOf(t, mainLines, masterLines, postmend{Target: "sendmail:/usr/sbin/sendmail"})
	for _, row := range []struct {
		system *system
		wrong  bool
	}{
		{nil, false},
		{&system{dir: "/etc/postfix"}, true},
		{&system{dir: "/etc/postfix", alternates: "/elsewhere"}, true},
		{&system{dir: "/etc/postfix", alternates: "/elsewhere, " + h.config.Dir}, false},
		{&system{dir: "/etc/postfix", instances: h.config.Dir}, false},
	} {
		h.system = row.system
		faults := judgeAlternates(h)
		if (faults != nil) != row.wrong {
			t.Errorf("%+v: %+v", row.system, faults)
		}
		if row.wrong && !strings.Contains(faults[0].Mend, "alternate_config_directories=") {
			t.Errorf("%s", faults[0].Mend)
		}
	}
}

func TestBracesKeepWordsTogether(t *testing.T) {
	for text, want := range map[string][]string{
		"":                           nil,
		" a  b ":                     {"a", "b"},
		"-o { x = {a b} } flags=q":   {"-o", "x = {a b}", "flags=q"},
		"-o {x=y} argv=/p ${sender}": {"-o", "x=y", "argv=/p", "${sender}"},
		"{ never closed":             {"{ never closed"},
	} {
		got := words(text)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
		if again := words(join(got)); strings.Count(text, "{") == strings.Count(text, "}") &&
			!reflect.DeepEqual(again, got) {
			t.Errorf("%q does not survive: %q", got, again)
		}
	}
}

func TestMacrosAreFoundAsPipeFindsThem(t *testing.T) {
	for word, want := range map[string][]string{
		"${sender}":           {"sender"},
		"--x=$(user)@$domain": {"user", "domain"},
		"a$$b":                nil,
		"$$$size":             {"size"},
		"plain":               nil,
	} {
		if got := macros(word); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}

func TestOnlyLoopbackIsThisHost(t *testing.T) {
	for value, want := range map[string]bool{
		"127.0.0.0/8": true, "127.0.0.1, [::1]/128": true, "localhost": true, "loopback-only": true,
		"": false, "0.0.0.0/0": false, "127.0.0.0/8, 192.0.2.0/24": false, "hash:/x": false, "all": false,
	} {
		if got := onlyLoopback(value); got != want {
			t.Errorf("%q: %t", value, got)
		}
	}
}

// The mode, not an attempt, says who may do what: check runs as root.
func TestPermissionsAreJudgedForTheUserInQuestion(t *testing.T) {
	u := &access.User{Name: "someone", UID: 1000, GIDs: []int{1001}}
	for _, row := range []struct {
		mode     os.FileMode
		uid, gid int
		may      bool
	}{
		{0o600, 1000, 0, true}, {0o600, 0, 0, false}, {0o640, 0, 1001, true}, {0o640, 0, 0, false},
		{0o604, 0, 0, true}, {0o044, 1000, 1001, false}, {0o604, 0, 1001, false},
	} {
		f := access.File{Path: "/x", Mode: row.mode, UID: row.uid, GID: row.gid}
		if f.Allows(u, access.MayRead) != row.may || (f.Barrier(u, access.MayRead) == nil) != row.may {
			t.Errorf("%s: may read: %t", f, f.Allows(u, access.MayRead))
		}
	}
	closed := access.File{Path: "/home", Mode: 0o700 | os.ModeDir}
	f := access.File{Path: "/home/x", Mode: 0o644,
		Folders: []access.File{closed, {Path: "/", Mode: 0o755 | os.ModeDir}}}
	if barrier := f.Barrier(u, access.MayRead); barrier == nil || barrier.Path != "/home" {
		t.Errorf("barrier: %v", barrier)
	}
}

// What Postfix, DNS or a file say must neither steer a terminal nor become another command.
func TestHostileTextIsShownHarmlessAndNeverRun(t *testing.T) {
	hostile := "x\x1b[31m\r\n`touch /tmp/x` $(id) 'quoted'"
	rules := []rule[int]{{Name: "r", Severity: Error, Judge: func(int) []fault {
		return []fault{{What: hostile, Mend: shell("echo", hostile), Publish: hostile}}
	}}}
	f := apply("area", rules, 0)[0]
	if strings.ContainsAny(f.What, "\x1b\r\n") || f.Mend != "" || f.Publish != "" {
		t.Errorf("%+v", f)
	}
	plain := "a `b` $(c) 'd' \\ \" ; & | > * ~"
	out, err := exec.Command("sh", "-c", shell("printf", "%s", plain)).Output()
	if err != nil || string(out) != plain {
		t.Errorf("%q, %v", out, err)
	}
}

// The system's temporary directory is everybody's: it never comes to belong to the filter.
func TestASharedSpoolFolderStaysEverybodys(t *testing.T) {
	h := hostOf(t, mainLines, masterLines, postmend{})
	for path, want := range map[string]string{
		"/tmp":        "chmod 1777 /tmp",
		"/var/tmp":    "chmod 1777 /var/tmp",
		"/srv/mended": "chown postmend-test /srv/mended && chmod u+rwx /srv/mended",
	} {
		h.spool = access.File{Path: path, Mode: 0o755 | os.ModeDir}
		if faults := judgeSpool(h); len(faults) != 1 || faults[0].Mend != want {
			t.Errorf("%s: %+v", path, faults)
		}
	}
}

func TestAShortageOfRoomLowersNoLimit(t *testing.T) {
	h := hostOf(t, mainLines+"message_size_limit = 51200000\n", masterLines, postmend{})
	h.spoolFree = 204800
	if faults := h.judgeSpoolRoom(); len(faults) != 1 || faults[0].Mend != "" ||
		!strings.Contains(faults[0].What, "spool_dir in [limits]") {
		t.Errorf("%+v", faults)
	}
}

// A home is not opened for a service: what is in it is to be kept elsewhere.
func TestNobodysHomeIsOpened(t *testing.T) {
	u := &access.User{Name: "someone", UID: 990, GIDs: []int{990}}
	for folder, want := range map[string]string{"/root": "", "/home/alice": "",
		"/etc/postmend": "chgrp 990 /etc/postmend && chmod g+x /etc/postmend"} {
		f := access.File{Path: folder + "/x", Mode: 0o644,
			Folders: []access.File{{Path: folder, Mode: 0o700 | os.ModeDir}}}
		barrier := f.Barrier(u, access.MayRead)
		if got := f.LetIn(u); got != want || (want == "") != strings.Contains(f.Because(barrier), "move it") {
			t.Errorf("%s: %q, %s", folder, got, f.Because(barrier))
		}
	}
}

// What takes mail from others is not ours to change, whatever the target says.
func TestATargetThatIsPublicIsWrongAndStaysAsItIs(t *testing.T) {
	peer.Long(t)
	for _, row := range []struct{ target, master, want string }{
		{"smtp://127.0.0.1:25", masterLines, `"smtp://127.0.0.1:10028"`},
		{"smtp://127.0.0.1:10029", masterLines, `"smtp://127.0.0.1:10028"`},
		{"smtp://127.0.0.1:25", strings.Replace(masterLines, "-o content_filter=",
			"-o syslog_name=postfix/reinject", 1), `"smtp://127.0.0.1:10026"`},
		{"smtp://127.0.0.1:25", "smtp inet n - n - - smtpd\n", ""},
		{"smtp://localhost:465", "smtps inet n - n - - smtpd\n10026 inet n - n - - smtpd\n", ""},
	} {
		h := hostOf(t, mainLines, row.master, postmend{Target: row.target})
		faults := judgeListener(h)
		if row.want == "" {
			row.want = fmt.Sprintf("%q", "smtp://"+h.wanted.Listener)
		}
		if len(faults) != 1 || faults[0].Edit == nil || faults[0].Edit.Value != row.want ||
			!strings.Contains(faults[0].What, "takes mail from others") {
			t.Errorf("%s: %+v, want %s", row.target, faults, row.want)
		}
		for _, f := range judgePostfix(h) {
			for _, public := range []string{" smtp/inet", " smtps/inet", " 10029/inet", " submission/inet"} {
				if strings.Contains(f.Mend, public) {
					t.Errorf("%s: a public service is changed: %+v", row.target, f)
				}
			}
		}
	}
}

func TestATargetBesideTheListenerIsMovedThere(t *testing.T) {
	h := hostOf(t, mainLines, masterLines, postmend{Target: "smtp://127.0.0.1:10036"})
	if faults := judgeListener(h); len(faults) != 1 || faults[0].Edit.Value != `"smtp://127.0.0.1:10028"` {
		t.Errorf("%+v", faults)
	}
}

// What comes after it would name a service that is no longer called so.
func TestAServiceIsRenamedLast(t *testing.T) {
	h := hostOf(t, mainLines, "10026 inet n - n - - smtpd -o syslog_name=postfix/reinject\n", postmend{})
	renamed := false
	for _, f := range judgePostfix(h) {
		if renamed && strings.Contains(f.Mend, "10026/inet") {
			t.Errorf("after the renaming: %s", f.Mend)
		}
		renamed = renamed || strings.Contains(f.Mend, "10026/inet/service=")
	}
	if !renamed {
		t.Error("not renamed")
	}
}

func TestAPortIsOfOneInstance(t *testing.T) {
	first := hostOf(t, mainLines, masterLines, postmend{})
	second := hostOf(t, mainLines, masterLines, postmend{ConfigFile: "/etc/postmend/postmend.toml"})
	if faults := judgeInstances(second); faults != nil {
		t.Errorf("alone: %+v", faults)
	}
	second.instances, second.dns = []*postconf.Config{first.config}, ready
	faults := judgeInstances(second)
	if len(faults) != 1 || !strings.Contains(faults[0].What, first.config.Dir) ||
		!strings.Contains(faults[0].Mend, "-MX 127.0.0.1:10026/inet && ") ||
		!strings.Contains(faults[0].Mend, " -c /etc/postmend/"+filepath.Base(second.config.Dir)+".toml") {
		t.Errorf("%+v", faults)
	}
	for _, taken := range []string{"10026", "10027", "10028", "10029"} {
		if got := second.freeListener(); strings.HasSuffix(got, taken) {
			t.Errorf("%s is an instance's", got)
		}
	}
	if got := second.freeListener(); got < "127.0.0.1:10030" {
		t.Errorf("%s", got)
	}
}

package mta

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"postmend/tests/peer"
)

// Dovecot is what a private Dovecot does with the mail that it gets by LMTP: all of it by one Sieve
// script.
type Dovecot struct {
	Sieve        string
	EnvelopeFrom string // sieve_redirect_envelope_from; "" is Pigeonhole's default
	Sendmail     string // sendmail_path; "" where Submission is set
	Submission   string // submission_host
}

const dovecot23 = `
ssl = no
mail_location = maildir:{dir}/mail/%u
passdb {
  driver = passwd-file
  args = {dir}/users
}
userdb {
  driver = passwd-file
  args = {dir}/users
}
protocol lmtp {
  mail_plugins = sieve
}
plugin {
  sieve = file:{dir}/mail/redirect.sieve
  {envelope}
}
`

// dovecot24 is the same for Dovecot 2.4, which renamed settings.
const dovecot24 = `
ssl = no
mail_driver = maildir
mail_path = {dir}/mail/%{user}
passdb passwd-file {
  passwd_file_path = {dir}/users
}
userdb passwd-file {
  passwd_file_path = {dir}/users
}
protocol lmtp {
  mail_plugins {
    sieve = yes
  }
}
sieve_script redirect {
  path = {dir}/mail/redirect.sieve
}
{envelope}
`

const dovecotBase = `
base_dir = {dir}/run
state_dir = {dir}/state
log_path = {dir}/log
hostname = mx.example.org
postmaster_address = postmaster@example.org
protocols = lmtp
first_valid_uid = 1
first_valid_gid = 1
lmtp_user_concurrency_limit = 1000
service lmtp {
  unix_listener lmtp {
    mode = 0666
  }
}
`

// Start starts a Dovecot in a folder below dir, for the given users, and gives the path of its LMTP
// socket. The test's end stops it; a failed test shows its log.
func (d Dovecot) Start(t testing.TB, dir string, users ...string) (socket string) {
	t.Helper()
	peer.NeedRoot(t)
	peer.NeedAccount(t)
	program := peer.Need(t, "dovecot")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.MkdirTemp(dir, "dc")
	must(err)
	must(os.Chmod(dir, 0o755))
	account, err := user.Lookup(peer.Mailbox)
	must(err)
	must(os.Mkdir(dir+"/mail", 0o777))
	must(os.Chmod(dir+"/mail", 0o777))
	var list strings.Builder
	for _, name := range users {
		fmt.Fprintf(&list, "%s:{PLAIN}x:%s:%s::%s/mail/%[1]s::\n", name, account.Uid, account.Gid, dir)
		must(os.Mkdir(dir+"/mail/"+name, 0o777))
		must(os.Chmod(dir+"/mail/"+name, 0o777))
	}
	must(os.WriteFile(dir+"/users", []byte(list.String()), 0o644))
	must(os.WriteFile(dir+"/mail/redirect.sieve", []byte(d.Sieve), 0o644))
	must(os.WriteFile(dir+"/dovecot.conf", []byte(d.config(t, program, dir)), 0o644))

	var output bytes.Buffer
	cmd := exec.Command(program, "-F", "-c", dir+"/dovecot.conf")
	cmd.Stdout, cmd.Stderr = &output, &output
	must(cmd.Start())
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		<-ended
		if t.Failed() {
			log, _ := os.ReadFile(dir + "/log")
			t.Logf("Dovecot's log:\n%s%s", output.Bytes(), log)
		}
	})
	socket = filepath.Join(dir, "run/lmtp")
	for late := time.After(Patience); ; time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("unix", socket); err == nil {
			conn.Close()
			return socket
		}
		select {
		case <-ended:
			t.Fatalf("Dovecot ended: %s", output.Bytes())
		case <-late:
			t.Fatal("Dovecot does not answer")
		default:
		}
	}
}

// config is for the version that is installed.
func (d Dovecot) config(t testing.TB, program, dir string) string {
	t.Helper()
	out, err := exec.Command(program, "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	text := dovecotBase + dovecot23
	if !bytes.HasPrefix(out, []byte("2.3.")) {
		text = "dovecot_config_version = 2.4.0\ndovecot_storage_version = 2.4.0\n" + dovecotBase + dovecot24
	}
	set := func(name, value string) string {
		if value == "" {
			return ""
		}
		return name + " = " + value
	}
	text += set("sendmail_path", d.Sendmail) + "\n" + set("submission_host", d.Submission) + "\n"
	return strings.NewReplacer("{dir}", dir, "{envelope}",
		set("sieve_redirect_envelope_from", d.EnvelopeFrom)).Replace(text)
}

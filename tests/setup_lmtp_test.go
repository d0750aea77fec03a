package tests

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"postmend/postfix/check"
	"postmend/postfix/layout"
	"postmend/postfix/postconf"
	"postmend/tests/mta"
	"postmend/tests/peer"
)

// serve runs `postmend serve --lmtp` as postmend's account, until stop.
func (h *plainHost) serve(address string) (stop func()) {
	h.t.Helper()
	account, err := user.Lookup(peer.Account)
	h.must(err)
	uid, _ := strconv.Atoi(account.Uid)
	gid, _ := strconv.Atoi(account.Gid)
	var said bytes.Buffer
	process := exec.Command(h.program, "serve", "-c", filepath.Join(h.root, "etc/postmend/postmend.toml"),
		"--lmtp", "inet:"+address)
	process.Stderr = &said
	process.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	h.must(process.Start())
	stop = func() { process.Process.Kill(); process.Wait() }
	h.t.Cleanup(stop)
	for started := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return stop
		}
		if time.Since(started) > mta.Patience {
			stop()
			h.t.Fatalf("serve does not serve: %v\n%s", err, said.String())
		}
	}
}

// faultsByLMTP are what check finds wrong with the route to postmend serve.
func (h *plainHost) faultsByLMTP() map[string]check.Finding {
	c := h.checked()
	c.publish()
	faults := map[string]check.Finding{}
	for _, f := range c.findings() {
		isRoute := f.Area == "filter service" || strings.HasPrefix(f.Name, "route") ||
			f.Name == "filter-service" || f.Name == "transport-missing"
		if isRoute && f.Severity != check.OK && f.Severity != check.Note {
			faults[f.Name] = f
		}
	}
	return faults
}

func TestSetupHandsMessagesToServeAndKeepsThat(t *testing.T) {
	peer.NeedRoot(t)
	peer.NeedAccount(t)
	for mode, want := range map[string]string{"transport": "default_transport",
		"content-filter": "content_filter"} {
		t.Run(mode, func(t *testing.T) {
			h := startPlainHost(t, "")
			before := h.configuration()
			h.setup("--prepare", "--mode", mode)
			h.tell()
			at := net.JoinHostPort("127.0.0.1", peer.FreePort(t))
			apply := []string{"--apply", "--mode", mode, "--lmtp", "inet:" + at}
			said := h.setupFails(apply...)
			if !strings.Contains(said, "serve --lmtp inet:"+at) ||
				!strings.Contains(said, "Postfix has not been changed") {
				t.Errorf("without serve:\n%s", said)
			}
			if after := h.configuration(); after != before {
				t.Errorf("without serve, Postfix was changed:\n%s", after)
			}

			stop := h.serve(at)
			h.setup(apply...)
			all := h.configuration()
			for _, line := range []string{want + " = postmend:inet:" + at,
				"postmend_destination_recipient_limit = 50",
				"postmend/unix/lmtp_send_xforward_command = yes",
				"postmend/unix/lmtp_line_length_limit = 0",
				"postmend/unix/disable_mime_output_conversion = yes"} {
				if !strings.Contains(all, line+"\n") {
					t.Errorf("no %s in\n%s", line, all)
				}
			}
			mark := h.Mark()
			h.forwards("info@example.org")
			h.WaitLog(mark, `lmtp\[\d+\]: .*relay=127\.0\.0\.1\[127\.0\.0\.1\]:\d+,.*status=sent`)
			if again := h.setup("--apply"); !strings.Contains(again, "Nothing to do") ||
				h.configuration() != all {
				t.Errorf("a second run does something:\n%s", again)
			}
			if faults := h.faultsByLMTP(); len(faults) > 0 {
				t.Errorf("check: %+v", faults)
			}
			stop()
			if faults := h.faultsByLMTP(); faults["lmtp-reach"].Severity != check.Error {
				t.Errorf("check, when serve is down: %+v", faults)
			}
			h.setup("--undo")
			if after := h.configuration(); after != before {
				t.Errorf("after --undo:\n%s\nbefore:\n%s", after, before)
			}
		})
	}
}

// Without a resident process: spawn(8) starts postmend for each connection.
func TestSetupHandsMessagesToAProcessOfSpawnAndKeepsThat(t *testing.T) {
	peer.NeedRoot(t)
	peer.NeedAccount(t)
	h := startPlainHost(t, "")
	before := h.configuration()
	apply := []string{"--apply", "--mode", "content-filter", "--lmtp", "spawn"}
	h.setup("--prepare", "--mode", "content-filter")
	h.tell()
	h.setup(apply...)
	all := h.configuration()
	for _, line := range []string{"content_filter = postmend:unix:private/postmend-lmtp",
		"postmend_destination_recipient_limit = 50", "postmend-lmtp_time_limit = 3600s"} {
		if !strings.Contains(all, line+"\n") {
			t.Errorf("no %s in\n%s", line, all)
		}
	}
	mark := h.Mark()
	h.forwards("info@example.org")
	h.WaitLog(mark, `lmtp\[\d+\]: .*relay=[^ ]*\[private/postmend-lmtp\],.*status=sent`)
	if again := h.setup("--apply"); !strings.Contains(again, "Nothing to do") || h.configuration() != all {
		t.Errorf("a second run does something:\n%s", again)
	}
	if faults := h.faultsByLMTP(); len(faults) > 0 {
		t.Errorf("check: %+v", faults)
	}
	config, err := postconf.Open(h.Dir)
	h.must(err)
	h.must(exec.Command("postconf", "-c", h.Dir, "-MX", layout.SpawnedLMTPID).Run())
	h.must(config.PostfixCommand("reload").Run())
	fault := h.faultsByLMTP()["lmtp-reach"]
	if fault.Severity != check.Error || !strings.Contains(fault.Mend, "postmend-lmtp unix") {
		t.Errorf("check, without the service: %+v", fault)
	}
	h.must(exec.Command("sh", "-c", fault.Mend).Run())
	h.must(config.PostfixCommand("reload").Run())
	if faults := h.faultsByLMTP(); len(faults) > 0 {
		t.Errorf("check, after its mend: %+v", faults)
	}
	h.setup("--undo")
	if after := h.configuration(); after != before {
		t.Errorf("after --undo:\n%s\nbefore:\n%s", after, before)
	}
}

// What is in the queue for pipe(8) names the next hop dummy, a host that does not exist.
func TestMailThatWasQueuedForPipeDoesNotBounceWhenSetupChangesToLMTP(t *testing.T) {
	h := startPlainHost(t, "defer_transports = postmend\n")
	before := h.configuration()
	h.setup("--prepare", "--mode", "content-filter")
	h.tell()
	h.setup("--apply")
	mark := h.Mark()
	h.send("alice@sender.example", "info@example.org")
	h.WaitLog(mark, "status=deferred")
	at := net.JoinHostPort("127.0.0.1", peer.FreePort(t))
	h.serve(at)
	shown := h.setup("--apply", "--lmtp", "inet:"+at)
	if all := h.configuration(); strings.Contains(all, "postmend_time_limit") {
		t.Errorf("Postfix would warn of a parameter that nothing uses:\n%s", all)
	}
	config, err := postconf.Open(h.Dir)
	h.must(err)
	mark = h.Mark()
	h.must(config.UnsetCommand("defer_transports").Run())
	h.Reload()
	h.must(exec.Command("postqueue", "-c", h.Dir, "-f").Run())
	h.WaitLog(mark, `lmtp\[\d+\]: .*status=deferred .*dummy`)
	requeue := config.RequeueCommand()
	if !strings.Contains(shown, requeue.String()) {
		t.Errorf("setup does not tell how to requeue:\n%s", shown)
	}
	h.must(requeue.Run())
	h.must(exec.Command("postkick", "-c", h.Dir, "public", "pickup", "W").Run())
	if got := h.sink.Wait(1)[0]; !srsSender.MatchString(got.From) {
		t.Errorf("from %q to %q", got.From, got.To)
	}
	h.must(config.SetCommand(postconf.Parameter{Name: "defer_transports", Value: "postmend"}).Run())
	h.setup("--undo")
	if after := h.configuration(); after != before {
		t.Errorf("after --undo:\n%s\nbefore:\n%s", after, before)
	}
}

// A socket that root can open is of no use if Postfix cannot.
func TestSetupRefusesASocketThatPostfixCannotOpen(t *testing.T) {
	h := startPlainHost(t, "")
	h.setup("--prepare")
	h.tell()
	path := filepath.Join(h.Dir, "serve.socket")
	listener, err := net.Listen("unix", path)
	h.must(err)
	defer listener.Close()
	h.must(os.Chmod(path, 0o600))
	before := h.configuration()
	if said := h.setupFails("--apply", "--lmtp", "unix:"+path); !strings.Contains(said, "permission denied") {
		t.Errorf("said:\n%s", said)
	}
	if after := h.configuration(); after != before {
		t.Errorf("Postfix was changed:\n%s", after)
	}
}

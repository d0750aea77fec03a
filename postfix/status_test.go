package postfix

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// The rows of "The contract with Postfix" in the design: outcome, exit status, class of the code.
func TestEveryOutcomeHasTheExitStatusAndCodeOfTheContract(t *testing.T) {
	for _, row := range []struct {
		outcome Outcome
		exit    int
		line    string
	}{
		{Delivered, 0, "2.0.0 text\n"},
		{Deferred, 75, "4.3.0 text\n"},
		{Misconfigured, 78, "4.3.5 text\n"},
		{Faulty, 70, "4.3.0 text\n"},
		{Misused, 64, "4.3.5 text\n"},
		{BadMessage, 65, "5.6.0 text\n"},
		{NoSuchUser, 67, "5.1.1 text\n"},
		{Refused, 69, "5.7.1 text\n"},
	} {
		var out bytes.Buffer
		if exit := row.outcome.Write(&out, "", "text"); exit != row.exit || out.String() != row.line {
			t.Errorf("outcome %d: exit %d, line %q; want %d, %q", row.outcome, exit, out.String(),
				row.exit, row.line)
		}
	}
}

func TestACodeOfAnotherClassNeverWins(t *testing.T) {
	for _, code := range []string{"5.0.0", "2.0.0", "4", "4.", "4.3", "x.y.z", "4.3.0.1",
		"4.3.\r", "44.3.0"} {
		var out bytes.Buffer
		Deferred.Write(&out, code, "text")
		if out.String() != "4.3.0 text\n" {
			t.Errorf("code %q: %q", code, out.String())
		}
	}
	var out bytes.Buffer
	if Deferred.Write(&out, "4.4.3", "text"); out.String() != "4.4.3 text\n" {
		t.Errorf("a code of the right class was replaced: %q", out.String())
	}
}

// Postfix logs 100 characters of what a delivery printed, and reads 4096 octets of any output.
func TestTheLineIsOneLineThatPostfixReadsAsAWhole(t *testing.T) {
	var out bytes.Buffer
	if Delivered.Write(&out, "", strings.Repeat("x", 5000)); out.Len() >= 100 {
		t.Errorf("delivered: %d octets", out.Len())
	}
	for _, text := range []string{strings.Repeat("x", 5000), "a\r\n5.0.0 b", "\x00\x1b[31m", "ü"} {
		var out bytes.Buffer
		Deferred.Write(&out, "", text)
		line := out.String()
		if len(line) > 4096 || strings.Count(line, "\n") != 1 || !strings.HasPrefix(line, "4.3.0 ") ||
			strings.ContainsAny(line, "\r\x00\x1b") {
			t.Errorf("text %q gave %q", text, line)
		}
	}
}

type closedPipe struct{}

func (closedPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestWithoutALineTheStatusAloneKeepsTheMail(t *testing.T) {
	for outcome := Delivered; outcome <= Refused; outcome++ {
		want := 75
		if outcome == Delivered {
			want = 0
		}
		if exit := outcome.Write(closedPipe{}, "", "text"); exit != want {
			t.Errorf("outcome %d: exit %d, want %d", outcome, exit, want)
		}
	}
}

// The deaths are real: the test runs itself and lets the child die.
func TestEveryDeathIsBySignal(t *testing.T) {
	deaths := map[string]func(){
		"panic":              func() { panic("fault") },
		"panic in goroutine": func() { go panic("fault"); select {} },
		// Such an error of the runtime cannot be recovered, as a deadlock or a lack of memory cannot.
		"fatal error": func() { new(sync.Mutex).Unlock() },
	}
	deaths["stack overflow"] = func() {
		debug.SetMaxStack(1 << 20)
		deaths["stack overflow"]()
	}
	if death := deaths[os.Getenv("POSTMEND_TEST_DEATH")]; death != nil {
		DieDeferring()
		death()
		os.Exit(0)
	}
	for name := range deaths {
		child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
		child.Env = append(os.Environ(), "POSTMEND_TEST_DEATH="+name)
		err := child.Run()
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			t.Errorf("%s: ended with %v", name, err)
			continue
		}
		status := exit.Sys().(syscall.WaitStatus)
		if !status.Signaled() || status.Signal() != syscall.SIGABRT || status.CoreDump() {
			t.Errorf("%s: ended with %v (core %v), want SIGABRT without a core", name, err, status.CoreDump())
		}
	}
}

func TestAClosedStdoutIsAnErrorAndNoDeath(t *testing.T) {
	if os.Getenv("POSTMEND_TEST_PIPE") != "" {
		DieDeferring()
		os.Exit(Delivered.Write(os.Stdout, "", "queued as X"))
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	reader.Close()
	child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	child.Env = append(os.Environ(), "POSTMEND_TEST_PIPE=1")
	child.Stdout = writer
	if err := child.Run(); err != nil {
		t.Errorf("a run that handed its message over ended with %v", err)
	}
}

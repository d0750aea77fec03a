package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// piped runs a command line as pipe(8) does: standard output and standard error are one pipe.
func (w *world) piped(args ...string) (exit int, out string) {
	w.t.Helper()
	reader, writer, err := os.Pipe()
	w.check(err)
	defer reader.Close()
	if len(args) > 0 {
		args = append(args[:1:1], append([]string{"-c", w.config}, args[1:]...)...)
	}
	exit = run(args,
		strings.NewReader(aMessage), writer, writer)
	writer.Close()
	said, err := io.ReadAll(reader)
	w.check(err)
	return exit, string(said)
}

// A slip in master.cf must keep the mail, whatever the slip is.
func TestEveryMisuseKeepsTheMail(t *testing.T) {
	w := newWorld(t)
	for _, args := range [][]string{
		{}, {"filter"}, {"filter", "-f", "a@b.example"}, {"filter", "-f"},
		{"filter", "--mumble", "--", "x@example.org"}, {"filter", "--size=big", "--", "x@example.org"},
		{"filter", "--size=12x", "--", "x@example.org"}, {"filter", "--size=-1", "--", "x@example.org"},
		{"filter", "--original-recipient=a@b.example", "--original-recipient=c@b.example", "--",
			"x@example.org", "y@example.org", "z@example.org"},
		{"filter", "--original-recipient=a@b.example", "--original-recipient=c@b.example", "--",
			"x@example.org"},
		{"filter", "--help", "-f", "a@b.example", "--", "x@example.org"},
		{"filter", "-h", "--", "x@example.org"}, {"filter", "-hx@example.org"},
		{"mumble"}, {"-f", "a@b.example"}, {"fliter", "-f", "a@b.example", "--", "x@example.org"}, {"srs"},
		{"srs", "mumble"}, {"srs", "forward"}, {"dkim"}, {"version", "x"},
		{"explain"}, {"demo", "a", "b"}, {"demo", "/nonexistent"}, {"dkim", "genkey"}, {"--version", "x"},
		{"filter", "--version"},
	} {
		if exit, out := w.piped(args...); exit != 64 || !strings.HasPrefix(out, "4.3.5 ") ||
			strings.Count(out, "\n") != 1 {
			t.Errorf("%q: exit %d, %q", args, exit, out)
		}
	}
}

// A person, or a script, whose output is no terminal is told plainly: pipe(8) makes one pipe of standard
// output and standard error, and what has two is not pipe(8).
func TestASlipThatIsNotUnderPipeIsAPlainError(t *testing.T) {
	for _, args := range [][]string{{"chekc"}, {"--chekc"}, {}, {"srs", "forwrad"}, {"check", "--no-dsn"},
		{"lookup"}, {"milter", "x"}} {
		reader, writer, err := os.Pipe() // as for a pager
		if err != nil {
			t.Fatal(err)
		}
		var errs bytes.Buffer
		exit := run(args, strings.NewReader(""), writer, &errs)
		writer.Close()
		out, _ := io.ReadAll(reader)
		reader.Close()
		if exit != 64 || len(out) > 0 || !strings.HasPrefix(errs.String(), "postmend: ") {
			t.Errorf("%q: exit %d, %q, %q", args, exit, out, errs.String())
		}
	}
}

// Of what a person has started, nothing is logged: the cause is told, whole, and without a code for Postfix.
func TestAPersonIsToldTheCause(t *testing.T) {
	w := newWorld(t, "hostname", "hostnam")
	missing := filepath.Join(t.TempDir(), "missing.toml")
	for _, c := range []struct {
		args []string
		exit int
		want string
	}{
		{[]string{"explain", "-c", w.config, "-f", "a@b.example", "--", "x@example.org"}, 78,
			"postmend: configuration error: " + w.config + `: line 1: unknown key "hostnam"`},
		{[]string{"verify", "-c", w.config}, 78, "postmend: configuration error: " + w.config +
			`: line 1: unknown key "hostnam"`},
		{[]string{"srs", "forward", "-c", missing, "a@b.example"}, 78,
			missing + ": no such file or directory"},
		{[]string{"srs", "forward", "-c", missing, "a@b.example"}, 78, "postmend setup --prepare makes one"},
		{[]string{"srs", "forward"}, 64, "postmend: no address given"},
		{[]string{"check", "--json", "--records"}, 64, "--json and --records cannot be used together"},
		{[]string{"report", "--" + strings.Repeat("x", 200)}, 64,
			"postmend: unknown flag: --" + strings.Repeat("x", 200) + "\n"},
	} {
		var out, errs bytes.Buffer
		exit := run(c.args, strings.NewReader(aMessage), &out, &errs)
		text := errs.String()
		if exit != c.exit || out.Len() > 0 || !strings.Contains(text, c.want) ||
			strings.Contains(text, "mail log") {
			t.Errorf("%q: exit %d, %q %q; want %q", c.args, exit, out.String(), text, c.want)
		}
	}
}

func TestWhereThereIsATerminalNoCodeStandsBeforeAnError(t *testing.T) {
	for _, args := range [][]string{{"mumble"}, {"filter", "--mumble"}, {"lookup"}, {}} {
		_, slave := terminal(t)
		var out, errs bytes.Buffer
		exit := run(args, slave, &out, &errs)
		if exit != 64 || out.Len() > 0 || !strings.HasPrefix(errs.String(), "postmend: ") {
			t.Errorf("%q: exit %d, %q %q", args, exit, out.String(), errs.String())
		}
	}
}

func TestTheVersionIsToldByCommandAndByFlag(t *testing.T) {
	var byCommand, byFlag, errs bytes.Buffer
	if exit := run([]string{"version"}, strings.NewReader(""), &byCommand, &errs); exit != 0 ||
		!strings.HasPrefix(byCommand.String(), "postmend") {
		t.Errorf("exit %d, %q %q", exit, byCommand.String(), errs.String())
	}
	if exit := run([]string{"--version"}, strings.NewReader(""), &byFlag, &errs); exit != 0 ||
		byFlag.String() != byCommand.String() {
		t.Errorf("exit %d, %q %q", exit, byFlag.String(), errs.String())
	}
}

func TestHelpIsGivenWhereItIsAskedFor(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"help"}, {"help", "filter"}, {"filter", "--help"},
		{"srs", "forward", "--help"}} {
		var out, errs bytes.Buffer
		exit := run(args, strings.NewReader(""), &out, &errs)
		if exit != 0 || !strings.Contains(out.String(), "Usage:") {
			t.Errorf("%q: exit %d, %q %q", args, exit, out.String(), errs.String())
		}
	}
}

func TestAConfigurationFaultIsOneLineAndItsDetailGoesToTheLog(t *testing.T) {
	w := newWorld(t, "key.pem", "missing.pem")
	exit, out, status := w.run(aMessage, "filter", "-f", "a@b.example", "--client-address=192.0.2.1", "--",
		"x@remote.example")
	if exit != 78 || out != "" || status != "4.3.5 DKIM key cannot be used, see the mail log\n" {
		t.Errorf("exit %d, %q %q", exit, out, status)
	}
	line := w.logged()
	if !strings.HasPrefix(line, "<19>") || !strings.Contains(line, "missing.pem: no such file") ||
		!strings.Contains(line, "result=deferred") {
		t.Errorf("logged %q", line)
	}
	if exit, _, _ := w.run(aMessage, "filter", "-f", "a@b.example", "--client-address=192.0.2.1", "--",
		"x@example.org"); exit != 0 {
		t.Errorf("mail that needs no key waits too: exit %d", exit)
	}
}

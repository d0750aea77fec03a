package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"postmend/postfix/check"
)

// terminal is a pseudo-terminal: what is written to the second file can be read from the first.
func terminal(t *testing.T) (*os.File, *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, slave
}

func TestColoursAreForTerminalsOnly(t *testing.T) {
	findings := []check.Finding{{Area: "area", Name: "name", Severity: check.Error, What: "what", Why: "why",
		Mend: "mend"}}
	var text bytes.Buffer
	if err := writeFindings(&text, findings, false); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(text.String(), "\x1b") || !strings.Contains(text.String(), "mend") {
		t.Errorf("%q", text.String())
	}
	for _, noColor := range []string{"", "1"} {
		t.Setenv("NO_COLOR", noColor)
		master, slave := terminal(t)
		if err := writeFindings(slave, findings, false); err != nil {
			t.Fatal(err)
		}
		shown := make([]byte, text.Len())
		if _, err := io.ReadFull(master, shown); err != nil {
			t.Fatal(err)
		}
		if coloured := bytes.Contains(shown, []byte("\x1b[")); coloured != (noColor == "") {
			t.Errorf("NO_COLOR=%q: %q", noColor, shown)
		}
	}
}

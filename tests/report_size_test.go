package tests

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"postmend/tests/peer"
)

// TestReportReadsALargeLogInLittleMemory: MAILLOG_MB=1024 makes it a gigabyte, and the log tells how it
// compares with zgrep.
func TestReportReadsALargeLogInLittleMemory(t *testing.T) {
	megabytes := 24
	if size := os.Getenv("MAILLOG_MB"); size != "" {
		var err error
		if megabytes, err = strconv.Atoi(size); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	log, program := filepath.Join(dir, "mail.log"), filepath.Join(dir, "postmend")
	copies := writeLargeLog(t, log, int64(megabytes)<<20)
	build(t, program)

	meter := newMeter(t)
	var theirs, ours cost
	for range 3 { // the least of each; processor time, since other tests run beside
		// Through cat: for /dev/null, grep stops at the first line.
		theirs = least(theirs, meter.run(t, log, peer.Need(t, "zgrep")+" -c status= "+log+" | cat"))
		ours = least(ours, meter.run(t, "/dev/null", fmt.Sprintf("exec %s report --json --html "+
			"%s/page.html %s", program, dir, log)))
	}
	if ours.memory >= 100 {
		t.Errorf("%d MB of log took %.0f MB of memory", megabytes, ours.memory)
	}
	t.Logf("%d MB: %.0f ms, %.1f times the processor time of zgrep -c status=, %.0f MB of memory", megabytes,
		ours.cpu, ours.cpu/theirs.cpu, ours.memory)

	out, err := exec.Command(program, "report", "--json", log).Output()
	if err != nil {
		t.Fatal(err)
	}
	var got reportData
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	c := got.Kinds["forwarded"]
	if c.Delivered != 4*copies || c.Refused != 16*copies || c.Deferred != copies ||
		got.Log.Notices != 16*copies {
		t.Errorf("forwarded %+v, %+v; want %d times what one log has", c, got.Log, copies)
	}
}

func least(a, b cost) cost {
	if a.cpu == 0 || b.cpu < a.cpu {
		return b
	}
	return a
}

// writeLargeLog repeats the log of a forwarder, each time with other queue ids and at a later time, and
// gives how often.
func writeLargeLog(t *testing.T, path string, size int64) (copies int) {
	t.Helper()
	text, err := os.ReadFile("../postfix/maillog/testdata/forwarder.log")
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for _, found := range regexp.MustCompile(`\]: ([0-9A-F]{9,12}): `).FindAllStringSubmatch(
		string(text), -1) {
		ids[found[1]] = true
	}
	id := regexp.MustCompile(`\b[0-9A-F]{9,12}\b`)
	var pieces []string // text, and between two of them an id that the copy's number is put behind
	last := 0
	for _, at := range id.FindAllStringIndex(string(text), -1) {
		if ids[string(text[at[0]:at[1]])] {
			pieces = append(pieces, string(text[last:at[1]]))
			last = at[1]
		}
	}
	pieces = append(pieces, string(text[last:]))
	stamp := regexp.MustCompile(`(?m)^Nov 25 \d\d:\d\d:\d\d`)
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	w := bufio.NewWriterSize(file, 1<<20)
	for written := int64(0); written < size; copies++ {
		now := time.Now().Add(-240 * time.Hour).Add(
			time.Duration(copies) * 40 * time.Second).Format(time.Stamp)
		// The stamps are within the copy the same: a copy is some seconds of a log.
		n, err := w.WriteString(
			stamp.ReplaceAllLiteralString(strings.Join(pieces, fmt.Sprintf("%05X", copies)), now))
		if err != nil {
			t.Fatal(err)
		}
		written += int64(n)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return copies
}

package main

import (
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// socketPair is a conversation: ours, and the file that spawn(8) would make standard input and output.
func socketPair(t *testing.T) (net.Conn, *os.File) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	conn, err := net.FileConn(ours)
	if err != nil {
		t.Fatal(err)
	}
	ours.Close()
	t.Cleanup(func() { conn.Close(); theirs.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute))
	return conn, theirs
}

func milterPacket(command byte, data string) []byte {
	return append(append(binary.BigEndian.AppendUint32(nil, uint32(len(data)+1)), command), data...)
}

// converse sends one message and gives the code of the last answer.
func converse(t *testing.T, conn net.Conn) byte {
	t.Helper()
	conn.Write(milterPacket('O', "\x00\x00\x00\x06\x00\x00\x01\xff\x00\x1f\xff\xff"))
	for _, packet := range [][2]string{
		{"C", "x\x004\x00\x01192.0.2.25\x00"}, {"H", "x\x00"}, {"M", "<a@b.example>\x00"},
		{"R", "<box@example.org>\x00"}, {"L", "From\x00 a@b.example\x00"}, {"E", ""},
	} {
		conn.Write(milterPacket(packet[0][0], packet[1]))
	}
	for {
		var head [5]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			t.Fatal(err)
		}
		io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(head[:]))-1)
		if head[4] != 'O' && head[4] != 'i' {
			return head[4]
		}
	}
}

// Whatever is wrong on this host, the message goes on: the filter judges it.
func TestAFaultOfOursRefusesNoMessage(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing.toml")
	broken := filepath.Join(t.TempDir(), "broken.toml")
	if err := os.WriteFile(broken, []byte("hostnam = 1"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{missing, broken} {
		conn, theirs := socketPair(t)
		status := make(chan int)
		go func() { status <- run([]string{"milter", "-c", file}, theirs, theirs, theirs) }()
		if code := converse(t, conn); code != 'c' {
			t.Errorf("%s: answer %q", file, code)
		}
		conn.Write(milterPacket('Q', ""))
		if got := <-status; got != 0 {
			t.Errorf("exit status %d", got)
		}
	}
}

func TestByHandTheMilterSaysWhoStartsIt(t *testing.T) {
	var out, errs strings.Builder
	if status := run([]string{"milter"}, strings.NewReader(""), &out, &errs); status != 64 ||
		!strings.Contains(out.String()+errs.String(), "spawn(8)") {
		t.Errorf("%d, %q, %q", status, out.String(), errs.String())
	}
}

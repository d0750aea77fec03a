package mta

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// logSocket is where Postfix's programs log to. postlogd(8) would read it usually; we do, because master(8),
// which starts postlogd(8), can wait for it for ever while it reloads (Postfix 3.7, where the queue of such a
// socket is short: net.unix.max_dgram_qlen).
func (i *Instance) logSocket() string { return i.Dir + ".spool/public/testlog" }

// follow takes what is logged, and writes it to the log file, too.
func (i *Instance) follow() {
	i.t.Helper()
	i.must(os.MkdirAll(filepath.Dir(i.logSocket()), 0o710))
	i.run("chown", "postfix:postdrop", filepath.Dir(i.logSocket()))
	socket, err := net.ListenPacket("unixgram", i.logSocket())
	i.must(err)
	i.must(os.Chmod(i.logSocket(), 0o666))
	file, err := os.OpenFile(filepath.Join(i.Dir, "log/mail"), os.O_WRONLY|os.O_APPEND, 0)
	i.must(err)
	done := make(chan struct{})
	i.t.Cleanup(func() {
		socket.Close()
		<-done
		file.Close()
	})
	go func() {
		defer close(done)
		datagram := make([]byte, 64<<10)
		for {
			n, _, err := socket.ReadFrom(datagram)
			if err != nil {
				break
			}
			line := strings.TrimRight(string(datagram[:n]), "\n")
			i.mu.Lock()
			if strings.HasPrefix(line, upToHere) {
				i.marks[line] = true
			} else {
				fmt.Fprintln(file, line)
				i.lines = append(i.lines, line)
			}
			i.mu.Unlock()
			i.changed.Broadcast()
		}
		i.mu.Lock()
		i.ended = true
		i.mu.Unlock()
		i.changed.Broadcast()
	}()
}

// upToHere is what we log ourselves.
const upToHere = "tests: up to here "

// catchUp waits until all that was logged before has been read.
func (i *Instance) catchUp() {
	i.t.Helper()
	mark, err := net.Dial("unixgram", i.logSocket())
	i.must(err)
	defer mark.Close()
	here := upToHere + strconv.FormatUint(rand.Uint64(), 36)
	_, err = io.WriteString(mark, here)
	i.must(err)
	i.mu.Lock()
	defer i.mu.Unlock()
	for !i.marks[here] && !i.ended {
		i.changed.Wait()
	}
}

// Log is the mail log as it is now.
func (i *Instance) Log() string {
	i.t.Helper()
	i.catchUp()
	i.mu.Lock()
	defer i.mu.Unlock()
	return strings.Join(i.lines, "\n")
}

// Mark is a place in the log.
type Mark int

// Mark gives the log's end as it is now.
func (i *Instance) Mark() Mark {
	i.t.Helper()
	i.catchUp()
	i.mu.Lock()
	defer i.mu.Unlock()
	return Mark(len(i.lines))
}

// WaitLog waits for a log line after the mark that matches the pattern and gives its submatches.
func (i *Instance) WaitLog(after Mark, pattern string) []string {
	i.t.Helper()
	re := regexp.MustCompile(pattern)
	late := time.AfterFunc(Patience, func() {
		i.mu.Lock()
		i.ended = true
		i.mu.Unlock()
		i.changed.Broadcast()
	})
	defer late.Stop()
	i.mu.Lock()
	defer i.mu.Unlock()
	for n := int(after); ; {
		for ; n < len(i.lines); n++ {
			if found := re.FindStringSubmatch(i.lines[n]); found != nil {
				return found
			}
		}
		if i.ended {
			i.t.Fatalf("the mail log has no line that matches %q", pattern)
		}
		i.changed.Wait()
	}
}

package tests

import (
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"postmend/postfix/check"
	"postmend/tests/listen"
	"postmend/tests/mta"
	"postmend/tests/peer"
)

// closedStore is a store that takes no senders.
type closedStore struct {
	url        string
	shut, mend func()
	// logged is in postmend's log line, checked in what check says of the store.
	logged, checked string
}

// A store that takes nothing, for whatever reason, keeps mail in the queue until it is mended: nothing is
// lost and nobody gets a bounce. The log says why, and check names it.
func TestAStoreThatTakesNothingKeepsMail(t *testing.T) {
	t.Parallel()
	peer.NeedRoot(t)
	f := startChanged(t, withoutReverseTable)
	f.withStore("dir:/nonexistent")
	url := "dir:/nonexistent"
	log := f.syslog()
	for name, open := range map[string]func(*testing.T) closedStore{
		"no room":           fullFileSystem("size=80m", 20<<20, 0, "MiB left"),
		"no inodes":         fullFileSystem("size=80m,nr_inodes=10100", 0, 100, "inodes left"),
		"mounted read-only": readOnlyFileSystem,
		"Redis full":        redisWith("OOM", "CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
		"Redis a replica":   redisWith("READONLY", "REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
		"Redis wants a login": redisWith("NOAUTH", "CONFIG SET requirepass x",
			"-a x CONFIG SET requirepass {}"),
		"Redis loading": loadingRedis,
		"Redis hanging": hangingRedis,
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			f.configure(url, s.url)
			url = s.url
			s.shut()
			f.logged(log)
			came, mark := len(f.remote.Messages()), f.Mark()
			sender := "x" + strconv.Itoa(came) + longSenders[0]
			id := mta.Submit(t, f.smtp, mta.Mail{From: sender, To: []string{"other@example.org"},
				XClient: stranger, Content: bulkLetter("kept")})
			f.WaitLog(mark, id+": to=<other@example.net>.*dsn=4.3.0, status=deferred")
			if lines := strings.Join(f.logged(log), "\n"); !strings.Contains(lines, "store-failed") ||
				!strings.Contains(lines, s.logged) {
				t.Errorf("the log has no %q:\n%s", s.logged, lines)
			}
			f.findsStore(t, s.checked)

			s.mend()
			f.Retry(id)
			alias := f.remote.Wait(came + 1)[came].From
			out, err := exec.Command(f.program, "srs", "reverse", "-c", f.config, alias).CombinedOutput()
			if got := strings.TrimSpace(string(out)); got != sender {
				t.Errorf("%s leads to %s, %v; want %s", alias, got, err, sender)
			}
		})
	}
	f.waitEmptyQueue()
}

// findsStore wants that check says what is wrong with the store.
func (f *forwarder) findsStore(t *testing.T, want string) {
	t.Helper()
	h := checkedHost{t: t, dir: f.Dir, program: f.program, config: f.config}
	findings := h.findings("--no-dns")
	if !slices.ContainsFunc(findings, func(finding check.Finding) bool {
		return finding.Name == "srs-store" && finding.Severity == check.Error &&
			strings.Contains(finding.What, want)
	}) {
		t.Errorf("check: %+v, want %q", findings, want)
	}
}

// smallFileSystem gives a store on a file system of its own.
func smallFileSystem(t *testing.T, options string) (mounted string, s closedStore) {
	t.Helper()
	mounted = mta.Folder(t)
	if err := syscall.Mount("tmpfs", mounted, "tmpfs", 0, options+",mode=755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(mounted, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	dir := filepath.Join(mounted, "srs")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	chownNobody(t, dir)
	return mounted, closedStore{url: "dir:" + dir}
}

func fullFileSystem(options string, octets, files int, says string) func(*testing.T) closedStore {
	return func(t *testing.T) closedStore {
		mounted, s := smallFileSystem(t, options)
		ballast := filepath.Join(mounted, "ballast")
		s.shut = func() {
			if err := os.Mkdir(ballast, 0o700); err != nil {
				t.Fatal(err)
			}
			for n := range files + 1 {
				path := filepath.Join(ballast, strconv.Itoa(n))
				if err := os.WriteFile(path, make([]byte, octets), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		s.mend = func() {
			if err := os.RemoveAll(ballast); err != nil {
				t.Fatal(err)
			}
		}
		s.logged, s.checked = says, says
		return s
	}
}

func readOnlyFileSystem(t *testing.T) closedStore {
	mounted, s := smallFileSystem(t, "size=80m")
	remount := func(flags uintptr) func() {
		return func() {
			if err := syscall.Mount("", mounted, "", syscall.MS_REMOUNT|flags, ""); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.shut, s.mend = remount(syscall.MS_RDONLY), remount(0)
	s.logged, s.checked = "read-only file system", "mounted read-only"
	return s
}

// redisWith gives a Redis that commands shut and mend.
func redisWith(says, shut, mend string) func(*testing.T) closedStore {
	return func(t *testing.T) closedStore {
		redis := peer.StartRedis(t)
		command := func(words string) func() {
			return func() {
				args := strings.Fields(words)
				for n, word := range args {
					args[n] = strings.ReplaceAll(word, "{}", "")
				}
				redis.Do(args...)
			}
		}
		return closedStore{url: "redis+unix://" + redis.Socket, shut: command(shut), mend: command(mend),
			logged: says, checked: map[bool]string{false: says, true: "is a replica"}[says == "READONLY"]}
	}
}

func loadingRedis(t *testing.T) closedStore {
	redis := peer.StartRedis(t, "--appendonly", "no")
	redis.Do("EVAL", `for i = 1, 5000 do local x = redis.sha1hex(i)
		redis.call("set", i, x .. redis.sha1hex(x)) end`, "0")
	redis.Do("SAVE")
	return closedStore{url: "redis+unix://" + redis.Socket, logged: "LOADING", checked: "LOADING",
		shut: func() { redis.Kill(); redis.StartSlowly(20 * time.Millisecond) },
		mend: func() { redis.Kill(); redis.Start() }}
}

// hangingRedis hangs in the middle of each answer.
func hangingRedis(t *testing.T) closedStore {
	redis := peer.StartRedis(t)
	var hangs atomic.Bool
	address := listen.TCP(t, func(conn net.Conn) {
		server, err := net.Dial("unix", redis.Socket)
		if err != nil {
			return
		}
		defer server.Close()
		go func() {
			answers := io.Reader(server)
			if hangs.Load() {
				answers = io.LimitReader(server, 2)
			}
			_, _ = io.Copy(conn, answers)
		}()
		_, _ = io.Copy(server, conn)
	})
	return closedStore{url: "redis://" + address + "/0",
		shut: func() { hangs.Store(true) }, mend: func() { hangs.Store(false) },
		logged: "deadline exceeded", checked: "deadline exceeded"}
}

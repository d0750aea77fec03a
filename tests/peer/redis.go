package peer

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Redis is a server of Redis or Valkey of one test's own.
type Redis struct {
	Socket string // a Unix-domain socket
	Port   string // on 127.0.0.1; "0" if the arguments name another

	t      testing.TB
	dir    string
	args   []string
	server *exec.Cmd
}

// StartRedis starts a server with further arguments, such as "--requirepass", "x". It keeps what it is told
// over Stop and Start.
func StartRedis(t testing.TB, args ...string) *Redis {
	t.Helper()
	dir, err := os.MkdirTemp("", "redis") // the path of a socket has to be short
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { // other accounts ask, too
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	r := &Redis{Socket: filepath.Join(dir, "socket"), Port: FreePort(t), t: t, dir: dir, args: args}
	r.Start()
	t.Cleanup(r.Kill)
	return r
}

// Start starts the server, and waits until it answers.
func (r *Redis) Start() {
	r.t.Helper()
	r.start()
	r.await(func(answer string) bool { return !strings.HasPrefix(answer, "LOADING") }) // PONG, or NOAUTH
}

// StartSlowly starts the server as if each key took a time to load, and returns while it loads.
func (r *Redis) StartSlowly(each time.Duration) {
	r.t.Helper()
	r.start("--key-load-delay", strconv.FormatInt(each.Microseconds(), 10),
		"--loading-process-events-interval-bytes", "1024")
	r.await(func(answer string) bool { return strings.HasPrefix(answer, "LOADING") })
}

func (r *Redis) start(more ...string) {
	r.t.Helper()
	args := slices.Concat([]string{"--dir", r.dir, "--unixsocket", r.Socket, "--unixsocketperm", "777",
		"--bind", "127.0.0.1", "--port", r.Port, "--appendonly", "yes", "--appendfsync", "no", "--save", ""},
		r.args, more)
	r.server = exec.Command(Need(r.t, "redis-server"), args...)
	if err := r.server.Start(); err != nil {
		r.t.Fatal(err)
	}
}

// await waits for an answer to PING.
func (r *Redis) await(is func(answer string) bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		answer, _ := exec.CommandContext(ctx, Need(r.t, "redis-cli"), "-s", r.Socket, "PING").Output()
		if len(answer) > 0 && is(string(answer)) {
			return
		}
		if ctx.Err() != nil {
			r.t.Fatal("redis-server does not answer")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Kill ends the server as a crash does.
func (r *Redis) Kill() {
	_ = r.server.Process.Kill()
	_ = r.server.Wait()
}

// Do has the server carry out a command, given as to redis-cli(1).
func (r *Redis) Do(words ...string) {
	r.t.Helper()
	args := append([]string{"-e", "-s", r.Socket}, words...)
	if out, err := exec.Command(Need(r.t, "redis-cli"), args...).CombinedOutput(); err != nil {
		r.t.Fatalf("redis-cli %q: %v\n%s", words, err, out)
	}
}

// Process is the server's.
func (r *Redis) Process() *os.Process { return r.server.Process }

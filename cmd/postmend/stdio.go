package main

import (
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// What is at the other ends of standard input and output.

// isPipe tells whether another program is at the other end.
func isPipe(w any) bool { return hasMode(w, fs.ModeNamedPipe) }

func hasMode(file any, mode fs.FileMode) bool {
	f, ok := file.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&mode != 0
}

// isTerminal tells whether a person is at the other end.
func isTerminal(w any) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil
}

// isUnread tells whether w is a pipe or socket without a reader.
func isUnread(w any) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	conn, err := file.SyscallConn()
	if err != nil {
		return false
	}
	unread := false
	err = conn.Control(func(fd uintptr) {
		poll := []unix.PollFd{{Fd: int32(fd)}}
		n, err := unix.Poll(poll, 0)
		unread = err == nil && n == 1 && poll[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0
	})
	return err == nil && unread
}

func isSameFile(a, b any) bool {
	fileA, okA := a.(*os.File)
	fileB, okB := b.(*os.File)
	if !okA || !okB {
		return false
	}
	infoA, errA := fileA.Stat()
	infoB, errB := fileB.Stat()
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

// isSpawned tells whether spawn(8) has started us: then one connection is standard input, output and error,
// and nothing but answers may be written to it.
func isSpawned(stdin io.Reader, stdout io.Writer) bool {
	return isSameFile(stdin, stdout) && hasMode(stdin, fs.ModeSocket)
}

// silenceStderr keeps messages of the Go runtime out of the connection.
func silenceStderr() {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return
	}
	defer null.Close()
	_ = unix.Dup3(int(null.Fd()), 2, 0)
}

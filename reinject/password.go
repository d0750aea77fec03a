package reinject

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

const maxPassword = 1024 // octets

// readPassword refuses a file that others can read. The mode is that of the file opened, not of what the name stood for before.
func readPassword(path string) (string, error) {
	// Without O_NONBLOCK a pipe in the file's place would hold us up.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", fmt.Errorf("password_file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("password_file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("password_file %s is not a regular file", path)
	}
	if info.Mode().Perm()&0o007 != 0 {
		return "", fmt.Errorf("password_file %s is open to all users: chmod o= %s", path, path)
	}
	content, err := io.ReadAll(io.LimitReader(f, maxPassword+1))
	if err != nil {
		return "", fmt.Errorf("password_file: %w", err)
	}
	password := strings.TrimRight(string(content), "\r\n")
	switch {
	case password == "":
		return "", fmt.Errorf("password_file %s is empty", path)
	case len(content) > maxPassword:
		return "", fmt.Errorf("password_file %s has over %d octets", path, maxPassword)
	case strings.ContainsAny(password, "\x00\r\n"):
		return "", fmt.Errorf("password_file %s: want one line", path)
	}
	return password, nil
}

// errClearText keeps a password off the wire.
var errClearText = errors.New("the connection is neither encrypted nor within this host, so no password is sent: use starttls=required or smtps://")

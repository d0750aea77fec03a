package postfix

import (
	"errors"
	"syscall"
)

// IsPassing tells by the error of net.Listener.Accept whether the next connection may be accepted although
// this one was not.
func IsPassing(err error) bool {
	for _, e := range [...]syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM,
		syscall.ECONNABORTED, syscall.EINTR} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

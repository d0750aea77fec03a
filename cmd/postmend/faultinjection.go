//go:build faultinjection

package main

// A build with this tag panics while it reads the message, so that tests can see Postfix keep the mail. With
// -ldflags "-X main.injected=goroutine" the panic is in a goroutine, where nothing can recover it.

var injected string

type faultyReader struct{}

func (faultyReader) Read([]byte) (int, error) {
	if injected == "goroutine" {
		go panic("injected fault")
		select {}
	}
	panic("injected fault")
}

func init() { stdin = faultyReader{} }

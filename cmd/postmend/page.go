package main

import (
	"fmt"
	"io"

	"postmend/postfix"
)

// pageWriter keeps the first error.
type pageWriter struct {
	w   io.Writer
	err error
}

func (p *pageWriter) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

func (p *pageWriter) detail(label, text string) {
	if text != "" {
		p.printf("           %-8s %s\n", label+":", postfix.PrintableUTF8(text))
	}
}

package reinject

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"
)

// ParseCAs reads the certificates of a ca_file, in PEM. It ignores other blocks.
func ParseCAs(text []byte) (*x509.CertPool, error) {
	pool, n := x509.NewCertPool(), 0
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", n+1, err)
		}
		pool.AddCert(certificate)
		n++
	}
	switch {
	case n > 0:
		return pool, nil
	case bytes.Contains(text, []byte("-----BEGIN")):
		return nil, errors.New("it has no certificate that can be read")
	}
	return nil, errors.New("it has no certificate in PEM form")
}

// untrusted says why a certificate was not trusted, and what to do; any other error stays as it is. The
// names in a certificate come from the peer.
func (t *smtpTarget) untrusted(err error) error {
	verification, ok := errors.AsType[*tls.CertificateVerificationError](err)
	if !ok || len(verification.UnverifiedCertificates) == 0 {
		return err
	}
	certificate := verification.UnverifiedCertificates[0]
	about := func(text string) error {
		return fmt.Errorf("the certificate of %s is not trusted: %s", t.host, text)
	}
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(verification.Err, &name):
		return about("it is for " + certificateNames(certificate) + ", not for the host of target")
	case errors.As(verification.Err, &authority):
		return about(t.unknownAuthority(verification.UnverifiedCertificates))
	case errors.As(verification.Err, &invalid) && invalid.Reason == x509.Expired:
		if expired := invalid.Cert; expired != nil {
			certificate = expired
		}
		return about(fmt.Sprintf("%q is valid from %s to %s, and it is %s now",
			printable(certificate.Subject.String()), certificate.NotBefore.UTC().Format(time.DateTime),
			certificate.NotAfter.UTC().Format(time.DateTime), time.Now().UTC().Format(time.DateTime)))
	}
	return about(printable(verification.Err.Error()))
}

// unknownAuthority is about a chain whose root is not trusted.
func (t *smtpTarget) unknownAuthority(chain []*x509.Certificate) string {
	last := chain[len(chain)-1]
	who := fmt.Sprintf("it was issued by %q", printable(last.Issuer.String()))
	if bytes.Equal(last.RawIssuer, last.RawSubject) && len(chain) == 1 {
		who = fmt.Sprintf("it is signed by itself (%q)", printable(last.Subject.String()))
	}
	if t.rootCAs == nil {
		return who + ", which is no certificate authority of this system: set reinject.ca_file"
	}
	return who + ", which is not in reinject.ca_file"
}

// certificateNames are at most three of the names that a certificate is for.
func certificateNames(certificate *x509.Certificate) string {
	const most = 3
	names := certificate.DNSNames
	for _, ip := range certificate.IPAddresses {
		names = append(names, ip.String())
	}
	switch {
	case len(names) == 0:
		return "no host name at all"
	case len(names) > most:
		return printable(strings.Join(names[:most], ", ")) + " and others"
	}
	return printable(strings.Join(names, ", "))
}

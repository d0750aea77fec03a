package check

import (
	"bytes"
	"fmt"

	"postmend/dkim"
)

// minSecret is the length that a secret should have, in octets.
const minSecret = 16

// judgeSecretLength judges the secrets as they stand in the file, a line each: the first one signs, and all
// verify.
func judgeSecretLength(o *own) []fault {
	if o.config.SRS.Domain == "" || o.secretsErr != nil {
		return nil
	}
	text, err := dkim.ReadPrivateFile(o.secrets.Path)
	if err != nil {
		return nil
	}
	var faults []fault
	n := 0
	for line := range bytes.Lines(text) {
		secret := bytes.TrimSpace(line)
		if len(secret) == 0 {
			continue
		}
		n++
		switch {
		case len(secret) >= minSecret:
		case n == 1:
			path, fresh := o.secrets.Path, o.secrets.Path+".new"
			faults = append(faults, fault{
				What: fmt.Sprintf("the first secret in %s has %d octets, and should have %d", path,
					len(secret), minSecret),
				Mend: "(umask 077; { openssl rand -base64 24; cat " + shell(path) + "; } > " + shell(fresh) +
					") && " +
					shell("chown", "--reference="+path, fresh) + " && " + shell("mv", fresh, path)})
		default:
			faults = append(faults, fault{Severity: Note, What: fmt.Sprintf("secret %d in %s has %d "+
				"octets: take it out when the addresses made with it are older than max_age, or at once "+
				"if forged bounces arrive",
				n, o.secrets.Path, len(secret))})
		}
	}
	return faults
}

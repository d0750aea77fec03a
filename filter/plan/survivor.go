package plan

import (
	"strings"

	"postmend/dkim"
	"postmend/filter/cause"
	"postmend/filter/message"
)

// droppedFields are those that cleanup(8) drops on the re-injection listener, too (message_drop_headers).
var droppedFields = [...]string{"bcc", "content-length", "resent-bcc", "return-path"}

// survivor gives the domain of a signature that is aligned with From:, valid now, and still valid at the next
// hop; or why there is none.
func (p *Policy) survivor(msg Facts) (domain string, why cause.Reason) {
	why = cause.NoneAligned.About()
	for _, signature := range alignedSignatures(msg.Proven) {
		if obstacle := msg.breaks(signature); obstacle.Cause != 0 {
			why = obstacle
			continue
		}
		return signature.Domain, cause.Reason{}
	}
	return "", why
}

// breaks says why a signature that is valid now may fail at the next hop; the zero Reason if it will not.
func (f Facts) breaks(signature dkim.Verification) cause.Reason {
	switch {
	case f.LongestLine > message.MaxLine:
		return cause.LongLine.About(f.LongestLine)
	case signature.Testing: // RFC 6376 section 3.6.1
		return cause.KeyTesting.About()
	case signature.SeveralRecords: // RFC 6376 section 3.6.2.2
		return cause.KeyAmbiguous.About()
	case strings.HasPrefix(signature.Algorithm, "ed25519"):
		return cause.Ed25519Only.About()
	case len(signature.SignedNames) == 0:
		return cause.CoverageUnknown.About()
	case f.Proven.StrayCR:
		return cause.BareCR.About() // cleanup_replace_stray_cr_lf
	case f.HasSeal() && timesSigned(signature, sealField) > 0:
		return cause.SealCovered.About()
	case f.Claimed > 0 && timesSigned(signature, "authentication-results") > 0:
		return cause.ResultsCovered.About()
	}
	for _, name := range droppedFields {
		if f.occurrences[name] > 0 && timesSigned(signature, name) > 0 {
			return cause.DroppedCovered.About(name)
		}
	}
	if signature.Disputed != "" {
		return cause.SignatureDisputed.About(signature.Disputed)
	}
	return cause.Reason{}
}

// alignedSignatures are those by which DMARC passed, and that are valid now.
func alignedSignatures(p Proof) []dkim.Verification {
	var list []dkim.Verification
	for _, signature := range p.signatures() {
		if signature.Status == dkim.Pass && p.DMARC.IsAlignedSigner(signature.Domain) {
			list = append(list, signature)
		}
	}
	return list
}

// timesSigned counts how often a signature lists a field.
func timesSigned(signature dkim.Verification, name string) int {
	n := 0
	for _, signed := range signature.SignedNames {
		if signed == name {
			n++
		}
	}
	return n
}

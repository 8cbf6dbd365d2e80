//! The twelve categories of documents. What each allows and demands is policy data.

use std::fmt;

macro_rules! categories {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// What kind of document it is, which decides what is allowed and demanded.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Category {
            $($(#[$doc])* $variant,)+
        }

        impl Category {
            /// All categories, in the order of the policy.
            pub const ALL: [Self; 12] = [$(Self::$variant),+];

            /// Its stable name in policies, records and events.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// The category of that name.
            #[must_use]
            pub fn parse(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

categories! {
    /// Notes, letters, summaries.
    ClinicalDocument = "clinical_document",
    /// DICOM files.
    ImagingDicom = "imaging_dicom",
    /// Laboratory results.
    LabResult = "lab_result",
    /// Photographs, video, audio, waveforms.
    ClinicalMedia = "clinical_media",
    /// Psychotherapy notes, substance use records.
    RestrictedRecord = "restricted_record",
    /// Sequences and variants.
    Genomic = "genomic",
    /// Consents, contracts, signed forms.
    ConsentLegal = "consent_legal",
    /// Identity papers, insurance cards.
    IdentityInsurance = "identity_insurance",
    /// Claims and remittances.
    BillingClaim = "billing_claim",
    /// What patients and outsiders attach to messages.
    MessageAttachment = "message_attachment",
    /// Archives kept for auditors.
    ComplianceArchive = "compliance_archive",
    /// Exports for patients and other systems.
    ExportPackage = "export_package",
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_category_has_a_name_of_its_own() {
        for category in Category::ALL {
            assert_eq!(Category::parse(category.as_str()), Some(category));
        }
        assert_eq!(Category::parse("Clinical_Document"), None);
    }
}

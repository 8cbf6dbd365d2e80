//! Why data is used: HL7 v3 PurposeOfUse (code system 2.16.840.1.113883.5.8).

use std::fmt;

/// The purpose that a request declares.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PurposeOfUse {
    /// `TREAT`: treatment.
    Treatment,
    /// `ETREAT`: emergency treatment.
    EmergencyTreatment,
    /// `BTG`: break the glass.
    BreakTheGlass,
    /// `HPAYMT`: healthcare payment.
    Payment,
    /// `HOPERAT`: healthcare operations.
    Operations,
    /// `HSYSADMIN`: health system administration.
    SystemAdministration,
    /// `HRESCH`: healthcare research.
    Research,
    /// `PATRQT`: patient requested.
    PatientRequest,
    /// `PUBHLTH`: public health.
    PublicHealth,
    /// `HLEGAL`: legal.
    Legal,
}

impl PurposeOfUse {
    const ALL: [(Self, &'static str); 10] = [
        (Self::Treatment, "TREAT"),
        (Self::EmergencyTreatment, "ETREAT"),
        (Self::BreakTheGlass, "BTG"),
        (Self::Payment, "HPAYMT"),
        (Self::Operations, "HOPERAT"),
        (Self::SystemAdministration, "HSYSADMIN"),
        (Self::Research, "HRESCH"),
        (Self::PatientRequest, "PATRQT"),
        (Self::PublicHealth, "PUBHLTH"),
        (Self::Legal, "HLEGAL"),
    ];

    /// The HL7 code.
    #[must_use]
    pub fn code(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(purpose, _)| *purpose == self)
            .map_or("", |(_, code)| code)
    }

    /// The purpose with that HL7 code.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, known)| *known == code)
            .map(|(purpose, _)| *purpose)
    }
}

impl fmt::Display for PurposeOfUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_purpose_is_found_by_its_code() {
        for (purpose, code) in PurposeOfUse::ALL {
            assert_eq!(PurposeOfUse::from_code(code), Some(purpose));
            assert_eq!(purpose.code(), code);
        }
        assert_eq!(PurposeOfUse::from_code("treat"), None);
    }
}

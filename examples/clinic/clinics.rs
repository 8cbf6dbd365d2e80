//! Steps 1 and 2: one tenant for each organization, and a clinician signed in to each.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use eonpro::auth::NewToken;
use eonpro::core::event::Code;
use eonpro::core::id::{ActorId, TenantId};
use eonpro::core::purpose::PurposeOfUse;
use eonpro::core::secret::SecretText;
use eonpro::core::{Classify as _, RequestContext, TenantScope};
use eonpro::tenant::{IdempotencyKey, NetworkList, NetworkRule, NewTenant, TenantSlug};
use eonpro::tower::Arrival;

use crate::record::SCHEMA;
use crate::site::{CLINICIAN, Failure, OFFICER, Site, in_parallel};

const REGION: Code = Code::constant("us-central");
/// How long an authenticator shows one code.
const TOTP_STEP: Duration = Duration::from_secs(30);
/// A shift.
const SHIFT: Duration = Duration::from_secs(8 * 3600);

/// One clinic: a tenant, its network, and its clinician.
#[derive(Debug)]
pub struct Clinic {
    /// The position of its organization.
    pub organization: usize,
    /// The tenant.
    pub tenant: TenantId,
    /// Who works there.
    pub clinician: Member,
}

/// Somebody who signed in.
#[derive(Debug)]
pub struct Member {
    name: ActorId,
    role: &'static str,
    peer: IpAddr,
    token: SecretText,
    /// What names the session.
    pub session: SecretText,
}

/// The network of a clinic, and an address in it.
fn network(organization: usize) -> (String, IpAddr) {
    let [.., high, low] = (organization as u64).to_be_bytes();
    (
        format!("10.{high}.{low}.0/24"),
        IpAddr::V4(Ipv4Addr::new(10, high, low, 7)),
    )
}

/// Onboards a tenant for each organization, with its network rule and its tables.
pub async fn onboard(site: &Arc<Site>) -> Result<Vec<(usize, TenantId)>, Failure> {
    let organizations = (0..site.dataset.organizations.len()).collect();
    let mut tenants = in_parallel("clinics", organizations, |organization| {
        let site = Arc::clone(site);
        async move {
            // An organization's key may be an outsider's number: the slug tells its position only.
            let slug = TenantSlug::new(&format!("clinic-{}", organization + 1))?;
            let once = IdempotencyKey::new(&format!("onboard-{slug}"))?;
            let agreement = Code::new(format!("baa-{}", organization + 1))?;
            let mut new = NewTenant::new(slug, REGION, agreement);
            new.network = NetworkRule::Only(NetworkList::parse([&*network(organization).0])?);
            let cx = site.foundation.chore("onboarding");
            let tenant = site.foundation.tenants().onboard(&cx, new, once).await?;
            Ok((organization, tenant.id()))
        }
    })
    .await?;
    tenants.sort_unstable();
    Ok(tenants)
}

/// Signs a clinician in to each tenant and brings its database to the present schema.
pub async fn staff(
    site: &Arc<Site>,
    tenants: Vec<(usize, TenantId)>,
) -> Result<Vec<Arc<Clinic>>, Failure> {
    let mut clinics = in_parallel("clinicians", tenants, |(organization, tenant)| {
        let site = Arc::clone(site);
        async move {
            let name = format!("clinician-{}", organization + 1);
            let clinician = sign_in(&site, organization, tenant, &name, CLINICIAN).await?;
            let clinic = Clinic {
                organization,
                tenant,
                clinician,
            };
            let scope = clinic.enter(&site).await?;
            site.foundation.databases().migrate(&scope, &SCHEMA).await?;
            Ok(Arc::new(clinic))
        }
    })
    .await?;
    clinics.sort_by_key(|clinic| clinic.organization);
    Ok(clinics)
}

/// Signs somebody in for the first time: token, Door, authenticator, session.
async fn sign_in(
    site: &Site,
    organization: usize,
    tenant: TenantId,
    name: &str,
    role: &'static str,
) -> Result<Member, Failure> {
    let foundation = &site.foundation;
    let (name, peer) = (ActorId::new(name)?, network(organization).1);
    let token = issue(site, &name, tenant, role)?;
    let cx = foundation
        .door()
        .admit(token.expose(), peer, PurposeOfUse::Treatment)
        .await?;
    let scope = cx.tenant_scope()?;
    let auth = foundation.auth();
    let enrolment = auth.enrol_totp(&scope).await?;
    let now = foundation.clock().wall();
    auth.confirm_totp(&scope, &enrolment.code_at(now)?).await?;
    // A code is accepted once; the next one is within the leeway already.
    let next = enrolment.code_at(now.plus(TOTP_STEP))?;
    let signed_in = auth.sign_in(&scope, Some(&next)).await?;
    Ok(Member {
        name,
        role,
        peer,
        token,
        session: signed_in.token,
    })
}

fn issue(site: &Site, name: &ActorId, tenant: TenantId, role: &str) -> Result<SecretText, Failure> {
    let issuer = site
        .foundation
        .issuer()
        .ok_or("the foundation has no development issuer")?;
    let token = NewToken::new(name.clone(), tenant)
        .with_roles(&[role])
        .lasting(SHIFT);
    Ok(issuer.issue(&token)?)
}

impl Clinic {
    /// One request of the clinician: through the Door, to the proof of its tenant.
    pub async fn enter(&self, site: &Site) -> Result<TenantScope, Failure> {
        Ok(self.clinician.arrive(site).await?.tenant_scope()?)
    }

    /// Signs in one who decides about the clinic as a whole.
    pub async fn officer(&self, site: &Site, name: &str) -> Result<Member, Failure> {
        sign_in(site, self.organization, self.tenant, name, OFFICER).await
    }

    /// The same clinic after a restart, with the same session and a token of the new issuer.
    pub fn returning(&self, site: &Site) -> Result<Self, Failure> {
        let Member {
            name,
            role,
            peer,
            session,
            ..
        } = &self.clinician;
        Ok(Self {
            organization: self.organization,
            tenant: self.tenant,
            clinician: Member {
                name: name.clone(),
                role,
                peer: *peer,
                token: issue(site, name, self.tenant, role)?,
                session: session.clone(),
            },
        })
    }
}

impl Member {
    /// The context of one request. Waits its turn if there were too many.
    pub async fn arrive(&self, site: &Site) -> Result<RequestContext, Failure> {
        let (door, clock) = (site.foundation.door(), site.foundation.clock());
        loop {
            let arrival = Arrival::new(self.peer, PurposeOfUse::Treatment);
            let (token, session) = (self.token.expose(), self.session.expose());
            match door.admit_in_session(token, session, arrival).await {
                Ok(cx) => return Ok(cx),
                Err(refused) => match refused.retry_after() {
                    Some(pause) => clock.sleep_until(clock.monotonic().plus(pause)).await,
                    None => return Err(refused.into()),
                },
            }
        }
    }
}

"""The only attributes that de-identified objects keep, at any depth: what MedGAN's own objects are made of."""

from __future__ import annotations

SCHEMES = frozenset({"DCM", "SCT", "SRT", "UCUM"})
UIDS = frozenset(
    """
    SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID FrameOfReferenceUID ReferencedSOPClassUID
    ReferencedSOPInstanceUID DimensionOrganizationUID ContextUID MappingResourceUID TrackingUID
    """.split()  # noqa: SIM905
)
SEQUENCES = frozenset(
    """
    SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence DerivationImageSequence DerivationCodeSequence
    SourceImageSequence PurposeOfReferenceCodeSequence FrameContentSequence PlanePositionSequence
    PlaneOrientationSequence PixelMeasuresSequence SegmentIdentificationSequence SegmentSequence
    SegmentedPropertyCategoryCodeSequence SegmentedPropertyTypeCodeSequence SegmentedPropertyTypeModifierCodeSequence
    AnatomicRegionSequence SegmentationAlgorithmIdentificationSequence AlgorithmFamilyCodeSequence
    DimensionOrganizationSequence DimensionIndexSequence ReferencedSeriesSequence ReferencedInstanceSequence
    ReferencedImageSequence ContributingEquipmentSequence
    """.split()  # noqa: SIM905
)
HARMLESS = frozenset(
    """
    ImageType Modality BodyPartExamined Laterality PatientPosition SeriesNumber InstanceNumber PresentationIntentType
    BurnedInAnnotation LossyImageCompression ContentQualification SpecificCharacterSet

    CodeValue CodingSchemeDesignator CodeMeaning MappingResource

    ImagePositionPatient ImageOrientationPatient PixelSpacing SliceThickness SpacingBetweenSlices SliceLocation

    SamplesPerPixel PhotometricInterpretation NumberOfFrames Rows Columns BitsAllocated BitsStored HighBit
    PixelRepresentation RescaleSlope RescaleIntercept RescaleType WindowCenter WindowWidth PixelData

    ScanningSequence SequenceVariant ScanOptions MRAcquisitionType EchoTime EchoTrainLength RepetitionTime
    InversionTime FlipAngle MagneticFieldStrength KVP

    SegmentationType SegmentNumber SegmentAlgorithmType RecommendedDisplayCIELabValue ReferencedSegmentNumber
    ReferencedFrameNumber SpatialLocationsPreserved DimensionIndexPointer FunctionalGroupPointer
    DimensionIndexValues DimensionDescriptionLabel DimensionOrganizationType SegmentsOverlap
    """.split()  # noqa: SIM905
)
DESCRIPTIONS = frozenset(
    """
    Manufacturer ManufacturerModelName SoftwareVersions SeriesDescription DerivationDescription ContentLabel
    ContentDescription ContributionDescription SegmentLabel SegmentDescription SegmentAlgorithmName AlgorithmName
    AlgorithmVersion AlgorithmSource
    """.split()  # noqa: SIM905
)
"""Text that MedGAN makes of the names of models and labels; kept only where MedGAN is the manufacturer."""
